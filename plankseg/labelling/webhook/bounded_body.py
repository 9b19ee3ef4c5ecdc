"""Reading of a request's body up to a bound."""

from fastapi import Request


async def read_bounded(request: Request, most_bytes: int) -> bytes | None:
    """The body, or None as soon as more than `most_bytes` have arrived."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most_bytes:
            return None
    return bytes(body)
