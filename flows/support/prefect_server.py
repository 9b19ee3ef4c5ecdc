"""The Prefect server of `plankseg up` and `plankseg demo`: Prefect's own, answering to this machine's names alone.

A web page can let a name of its own point to 127.0.0.1 (DNS rebinding) and is then of the server's origin to a browser.
Prefect answers whatever name it is called by; this one answers to two. Its log-in is Prefect's, by
PREFECT_SERVER_API_AUTH_STRING.
"""

import argparse

import uvicorn
from fastapi.middleware.trustedhost import TrustedHostMiddleware
from prefect.server.api.server import create_app
from prefect.settings import get_current_settings

from plankseg.errors import SettingsError

NAMES = ("127.0.0.1", "localhost")


def serve(host: str, port: int) -> None:
    """Serve API and UI until ended, as `prefect server start` does.

    Raises SettingsError where no log-in is set.
    """
    settings = get_current_settings().server
    if settings.api.auth_string is None:
        raise SettingsError(
            "PREFECT_SERVER_API_AUTH_STRING is not set: without a log-in anybody could run commands here."
        )
    # Around the app, not in it: automations call the same app in memory, by a name that no web page can have.
    uvicorn.run(
        TrustedHostMiddleware(create_app(final=True), allowed_hosts=list(NAMES)),
        host=host,
        port=port,
        timeout_keep_alive=settings.api.keepalive_timeout,
        ws_ping_interval=settings.api.websocket_ping_interval,
        ws_ping_timeout=settings.api.websocket_ping_timeout,
        log_level=settings.logging_level.lower(),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args()
    serve(given.host, given.port)
