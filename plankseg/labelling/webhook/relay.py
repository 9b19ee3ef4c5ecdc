"""Webhook relay: a small server on loopback that takes Label Studio's webhooks and passes hints on.

Label Studio sends a webhook while the person's click is being answered, waits one second, and never sends it again. So
the relay compares the secret, reads a bounded body, queues a hint and answers; `debounce` does everything slow.
"""

import hmac
import logging
import os
from collections.abc import Callable, Sequence

from fastapi import FastAPI, Request, Response

from plankseg.config import Settings
from plankseg.errors import HookError
from plankseg.labelling.api.client import LabelStudioClient
from plankseg.labelling.api.webhook_payload import RELAY_HEADER, Hint, read_hints
from plankseg.labelling.webhook.bounded_body import read_bounded
from plankseg.labelling.webhook.debounce import EventDebouncer, TaskCount
from plankseg.labelling.webhook.loopback_server import BAD, FORBIDDEN, TOO_LARGE, refuse, serve_on_loopback
from plankseg.labelling.webhook.prefect_events import Event, authorization, send_events

log = logging.getLogger(__name__)

BODY_BYTES = 4 * 2**20  # an answer of 4 million pixels weighs some 100 kB; noise of that size a few megabytes
NO_CONTENT = 204
REQUEST = "A webhook"


def build_app(secret: str, pass_on: Callable[[Hint], None]) -> FastAPI:
    """The relay: `POST /label-studio` with the shared secret, and `GET /health`."""
    app = FastAPI(title="plankseg webhook relay", openapi_url=None)

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "UP"}

    @app.post("/label-studio")
    async def label_studio(request: Request) -> Response:
        if not hmac.compare_digest(request.headers.get(RELAY_HEADER, "").encode(), secret.encode()):
            return refuse(FORBIDDEN, f"The header {RELAY_HEADER} is missing or wrong.", request=REQUEST)
        body = await read_bounded(request, BODY_BYTES)
        if body is None:
            return refuse(TOO_LARGE, f"The body is larger than {BODY_BYTES} bytes.", request=REQUEST)
        try:
            hints = read_hints(body)
        except HookError as error:
            return refuse(BAD, str(error), request=REQUEST)
        for hint in hints:
            pass_on(hint)
        return Response(status_code=NO_CONTENT)

    return app


class LiveServers:
    """Label Studio and Prefect over HTTP, for the debouncer."""

    def __init__(self, settings: Settings, client: LabelStudioClient, *, secret: str, prefect_api_url: str) -> None:
        self._settings = settings
        self._client = client
        self._secret = secret
        self._prefect_api_url = prefect_api_url

    def register(self) -> bool:
        """Register our webhook in the project, if there is one."""
        project = self._client.find_project(self._settings.project)
        if project is not None:
            self._client.ensure_webhook(project, f"{self._settings.relay_url.rstrip('/')}/label-studio", self._secret)
        return project is not None

    def count(self, since_round: int) -> TaskCount:
        """Count the project's tasks in Label Studio."""
        project = self._client.find_project(self._settings.project)
        if project is None:
            return TaskCount(tasks=0, open=0)
        total, unanswered = (
            self._client.count_tasks(project, since_round=since_round, open_only=only) for only in (False, True)
        )
        return TaskCount(tasks=total, open=unanswered)

    def send(self, events: Sequence[Event]) -> bool:
        """Send events to Prefect."""
        return send_events(self._prefect_api_url, events, headers=authorization(os.environ))


def serve(settings: Settings, *, port: int, prefect_api_url: str) -> None:
    """Serve on loopback until stopped; the webhook is registered as soon as the project exists.

    Raises:
        SettingsError: no shared secret is set.
        LabelStudioAuthError: no token is set.
    """
    secret, token = settings.required_secret(), settings.required_token()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    with LabelStudioClient(settings.label_studio_url, token) as client:
        servers = LiveServers(settings, client, secret=secret, prefect_api_url=prefect_api_url)
        with EventDebouncer(servers, project=settings.project) as debouncer:
            serve_on_loopback(build_app(secret, debouncer.hint), port)
