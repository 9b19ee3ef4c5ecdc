"""The assistant as a server: it registers itself in the projects of the rounds and of the validation set."""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Self

from plankseg.config import Settings
from plankseg.errors import PlanksegError
from plankseg.labelling.api.client import LabelStudioClient
from plankseg.labelling.assist.app import Answer, build_app
from plankseg.labelling.webhook.loopback_server import serve_on_loopback

log = logging.getLogger(__name__)

WITHOUT_PROJECT_S, REGISTERED_S = 5.0, 60.0  # between two checks whether the assistant is registered
LISTENING_S = 1.0  # after which the server answers: Label Studio asks it while it is being registered


class Registration:
    """A thread that registers the assistant in every project of the titles, as soon as it exists and ever again."""

    def __init__(self, register: Callable[[str], bool], titles: Sequence[str]) -> None:
        self._register = register
        self._titles = titles
        self._stopped = threading.Event()
        self._status: dict[str, str] = {}
        self._thread = threading.Thread(target=self._run, name="assistant-registration", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join(timeout=2)

    def _run(self) -> None:
        wait_s = LISTENING_S
        while not self._stopped.wait(wait_s):
            wait_s = REGISTERED_S if self.register() else WITHOUT_PROJECT_S

    def register(self) -> bool:
        """Register where it is missing; True if the first of the projects has the assistant."""
        first, *_ = [self._register_in(title) for title in self._titles]
        return first

    def _register_in(self, title: str) -> bool:
        try:
            registered = self._register(title)
            status = "The assistant is registered" if registered else "Label Studio has no such project yet"
        except PlanksegError as error:
            registered, status = False, f"The assistant is not registered: {error}"
        if status != self._status.get(title):  # logged only when it changes
            log.info("Project %r: %s", title, status)
            self._status[title] = status
        return registered


def serve(settings: Settings, answer: Answer, *, port: int, titles: Sequence[str], labeling_config: str) -> None:
    """Serve on loopback until stopped; projects of these titles get the assistant and the controls it needs.

    Raises:
        SettingsError: no shared secret is set.
        LabelStudioAuthError: no token is set.
    """
    secret, token = settings.required_secret(), settings.required_token()
    with LabelStudioClient(settings.label_studio_url, token) as client:

        def register(title: str) -> bool:
            if client.find_project(title) is None:
                return False
            project = client.ensure_project(title, labeling_config)
            client.ensure_assistant(project, settings.assistant_url, secret)
            return True

        with Registration(register, titles):
            serve_on_loopback(build_app(secret, answer), port)
