"""A loopback proxy before an S3 server that is slow, refuses, breaks off in mid-answer, or is away, on demand."""

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

REFUSAL = "<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code><Message>on demand</Message></Error>"


class Faults:
    """What the proxy does to requests; all of it can be changed while it runs."""

    def __init__(self) -> None:
        self.latency_s = 0.0
        self.refusal: tuple[int, str] | None = None
        self.spared = 0  # requests that are let through before the refusal begins
        self.cut = 0  # answers to a GET that break off in their middle
        self.url = ""
        self.seen: list[str] = []
        self.headers: list[dict[str, str]] = []
        self._lock = threading.Lock()

    def refused(self) -> bool:
        with self._lock:
            self.spared -= 1
            return self.refusal is not None and self.spared < 0

    def cuts(self, method: str, size: int) -> bool:
        with self._lock:
            if method != "GET" or size < 2 or not self.cut:
                return False
            self.cut -= 1
            return True


@contextmanager
def faulty(behind: str) -> Iterator[Faults]:
    """The proxy on a free port of loopback, and what it shall do."""
    faults, target = Faults(), urlsplit(behind).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            faults.seen.append(f"{self.command} {self.path}")
            faults.headers.append({name.lower(): value for name, value in self.headers.items()})
            time.sleep(faults.latency_s)
            if faults.refused():
                assert faults.refusal is not None
                self.answer(faults.refusal[0], {"Content-Type": "text/xml"}, REFUSAL.format(code=faults.refusal[1]))
                return
            onward = http.client.HTTPConnection(target, timeout=30)
            onward.request(self.command, self.path, body, dict(self.headers))
            found = onward.getresponse()
            self.answer(found.status, dict(found.headers), found.read())
            onward.close()

        def answer(self, status: int, headers: dict[str, str], body: str | bytes) -> None:
            data = body.encode() if isinstance(body, str) else body
            self.send_response_only(status)
            for name, value in headers.items():
                if name.lower() not in {"content-length", "connection", "transfer-encoding"}:
                    self.send_header(name, value)
            size = headers.get("Content-Length", str(len(data))) if self.command == "HEAD" else str(len(data))
            self.send_header("Content-Length", size)
            self.end_headers()
            if self.command == "HEAD":
                return
            if faults.cuts(self.command, len(data)):
                self.wfile.write(data[: len(data) // 2])
                self.wfile.flush()
                self.close_connection = True
                return
            with suppress(ConnectionError):  # whoever asked has lost patience
                self.wfile.write(data)

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = handle_any  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as proxy:
        serving = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        serving.start()
        faults.url = f"http://127.0.0.1:{proxy.server_port}"
        try:
            yield faults
        finally:
            proxy.shutdown()
            serving.join()
