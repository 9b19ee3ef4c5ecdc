"""Small servers that Label Studio's server asks on this machine: the relay and the assistant."""

import logging

from fastapi import FastAPI, Response

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
BAD, UNAUTHORIZED, FORBIDDEN, TOO_LARGE = 400, 401, 403, 413


def serve_on_loopback(app: FastAPI, port: int) -> None:
    """Serve until stopped, on loopback alone, without a log of each request, and on short connections."""
    import uvicorn

    from plankseg.labelling.webhook.short_connections import ShortConnections

    uvicorn.run(app, host=HOST, port=port, log_level="warning", access_log=False, ws="none", http=ShortConnections)


def refuse(status: int, why: str, *, request: str) -> Response:
    """A refusal in plain text, which is also logged; `request` says what is refused."""
    log.warning("%s is refused with %d: %s", request, status, why)
    return Response(why, status_code=status, media_type="text/plain")
