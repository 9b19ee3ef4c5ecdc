"""When is the loop told that there is something to do? Once per answered task, and once more when a round is complete.

Hints of Label Studio's webhook come in bursts and may get lost, and each of them only makes us look: whether a round
has an open task left is asked of Label Studio itself. A round whose last hint was lost is finished by the schedule.
"""

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from queue import Empty, Full, Queue
from typing import Protocol, Self

from plankseg.errors import PlanksegError
from plankseg.labelling.api.webhook_payload import Hint
from plankseg.labelling.webhook.prefect_events import ROUND_ANSWERED, TASK_ANSWERED, Event, make_event

log = logging.getLogger(__name__)

SETTLE_S = 0.5  # hints that come so close together are passed on together
WITHOUT_PROJECT_S, REGISTERED_S = 5.0, 60.0  # between two looks whether our webhook is there
KEPT_HINTS = 2000


@dataclass(frozen=True)
class Count:
    """Tasks of a round and of later ones, and how many of them nobody dealt with."""

    tasks: int
    open: int


class Servers(Protocol):
    """The two servers, as far as a nudge needs them."""

    def register(self) -> bool:
        """Bring our webhook into the project; False while there is no project."""

    def count(self, since_round: int) -> Count:
        """The tasks of that round and of later ones."""

    def tell(self, events: Sequence[Event]) -> bool:
        """Pass events on; False if they had to be dropped."""


class EventDebouncer:
    """A thread between the webhook, which must answer at once, and two servers that may be slow or away."""

    def __init__(self, outside: Servers, *, project: str, settle_s: float = SETTLE_S) -> None:
        self._outside = outside
        self._project = project
        self._settle_s = settle_s
        self._hints: Queue[Hint] = Queue(KEPT_HINTS)
        self._over = threading.Event()
        self._said = ""
        self._announced: tuple[int, int] | None = None
        self._thread = threading.Thread(target=self._run, name="nudger", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(timeout=2)  # what still waits for a server that is away is dropped: the schedule goes on

    def hint(self, hint: Hint) -> None:
        """Take a hint; never waits."""
        try:
            self._hints.put_nowait(hint)
        except Full:
            log.warning("%d hints wait already: one more is dropped, the schedule goes on", KEPT_HINTS)

    def _run(self) -> None:
        look_at = time.monotonic()
        while not self._over.is_set():
            if time.monotonic() >= look_at:
                look_at = time.monotonic() + (REGISTERED_S if self._register() else WITHOUT_PROJECT_S)
            if hints := self._gather():
                self._pass_on(hints)

    def _register(self) -> bool:
        """Look after the webhook; how it stands is said when it changes, not every few seconds."""
        try:
            registered = self._outside.register()
            said = "The webhook is registered" if registered else "Label Studio has no project yet: looking again"
        except PlanksegError as error:
            registered, said = False, f"The webhook is not registered: {error}"
        if said != self._said:
            log.info(said)
            self._said = said
        return registered

    def _gather(self) -> list[Hint]:
        """The hints of a moment; none if a quarter of a second brings none."""
        try:
            hints = [self._hints.get(timeout=0.25)]
        except Empty:
            return []
        self._over.wait(self._settle_s)
        while not self._hints.empty():
            hints.append(self._hints.get_nowait())
        return hints

    def _pass_on(self, hints: Sequence[Hint]) -> None:
        """One event per task; one more where no task is open in the newest of their rounds, nor in a later one.

        That one is sent once, however often its answers are changed afterwards, and again where tasks came since.
        """
        rounds = {hint.task_id: hint.round for hint in hints}
        events = [self._event(TASK_ANSWERED, task=task, round=n) for task, n in rounds.items()]
        complete = self._complete(max(rounds.values()))
        if complete and complete != self._announced:
            events.append(self._event(ROUND_ANSWERED, round=complete[0]))
        if self._outside.tell(events) and complete:
            self._announced = complete

    def _complete(self, newest: int) -> tuple[int, int] | None:
        """The round and the number of its tasks and of later ones, if no task among them is open."""
        try:
            count = self._outside.count(newest)
        except PlanksegError as error:
            log.warning("Whether round %d is complete is left to the schedule: %s", newest, error)
            return None
        log.info("Round %d: %d of %d tasks open", newest, count.open, count.tasks)
        return None if count.open else (newest, count.tasks)

    def _event(self, name: str, **payload: int) -> Event:
        return make_event(name, payload, project=self._project)
