"""The barest S3 server in memory, `_bare_s3.py PORT LATENCY_MS`, so that what is measured is the client.

It keeps what is put under a path and gives it back, one request after the other on each connection; no names, no
signatures, no conditions. Started by store.py.
"""

import asyncio
import hashlib
import sys

HEAD_ENDS = b"\r\n\r\n"
kept: dict[bytes, bytes] = {}


class Requests(asyncio.Protocol):
    """The requests of one connection."""

    def __init__(self, latency_s: float) -> None:
        self.latency_s = latency_s
        self.came = b""
        self.request: tuple[bytes, bytes, int] | None = None

    def connection_made(self, transport) -> None:  # type: ignore[no-untyped-def]
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.came += data
        while self.request or HEAD_ENDS in self.came:
            method, path, size = self.request = self.request or self.begun()
            if len(self.came) < size:
                return
            body, self.came, self.request = self.came[:size], self.came[size:], None
            if self.latency_s:
                asyncio.get_running_loop().call_later(self.latency_s, self.answer, method, path, body)
            else:
                self.answer(method, path, body)

    def begun(self) -> tuple[bytes, bytes, int]:
        head, _, self.came = self.came.partition(HEAD_ENDS)
        first, *lines = head.split(b"\r\n")
        named = {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
        if named.get(b"expect") == b"100-continue":
            self.transport.write(b"HTTP/1.1 100 Continue" + HEAD_ENDS)
        method, path, _ = first.split(b" ", 2)
        return method, path.partition(b"?")[0], int(named.get(b"content-length", 0))

    def answer(self, method: bytes, path: bytes, body: bytes) -> None:
        if method == b"PUT":
            kept[path] = body
        data = b"" if method == b"PUT" else kept.get(path, b"")
        head = [
            "HTTP/1.1 200 OK",
            f'ETag: "{hashlib.md5(body or data).hexdigest()}"',
            "Last-Modified: Mon, 05 Jan 2026 00:00:00 GMT",
            f"Content-Length: {len(data)}",
        ]
        self.transport.write("\r\n".join(head).encode() + HEAD_ENDS + data)


async def serve(port: int, latency_ms: float) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: Requests(latency_ms / 1000), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), float(sys.argv[2])))
