"""Debounce webhook hints into events: one per answered task, and one more when a round is complete.

Hints of Label Studio's webhook come in bursts and may get lost. A hint only triggers a check: whether a round has an
open task left is asked of Label Studio itself. A round whose last hint was lost is finished by the schedule.
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

BURST_S = 0.5  # hints that arrive within this time are passed on together
WITHOUT_PROJECT_S, REGISTERED_S = 5.0, 60.0  # between two checks whether our webhook is registered
MAX_HINTS = 2000


@dataclass(frozen=True)
class TaskCount:
    """Tasks of a round and of later ones, and how many of them are not answered."""

    tasks: int
    open: int


class Servers(Protocol):
    """The calls that the debouncer makes to Label Studio and Prefect."""

    def register(self) -> bool:
        """Register our webhook in the project; False while there is no project."""

    def count(self, since_round: int) -> TaskCount:
        """The tasks of that round and of later ones."""

    def send(self, events: Sequence[Event]) -> bool:
        """Send events to Prefect; False if they had to be dropped."""


class EventDebouncer:
    """A thread between the webhook, which must answer at once, and two servers that may be slow or not running."""

    def __init__(self, servers: Servers, *, project: str, burst_s: float = BURST_S) -> None:
        self._servers = servers
        self._project = project
        self._burst_s = burst_s
        self._hints: Queue[Hint] = Queue(MAX_HINTS)
        self._stopped = threading.Event()
        self._status = ""
        self._announced: tuple[int, int] | None = None
        self._thread = threading.Thread(target=self._run, name="event-debouncer", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join(timeout=2)  # hints that still wait are dropped: the schedule finds the answers

    def hint(self, hint: Hint) -> None:
        """Queue a hint; never blocks."""
        try:
            self._hints.put_nowait(hint)
        except Full:
            log.warning("%d hints wait already: one more is dropped, the schedule finds the answer", MAX_HINTS)

    def _run(self) -> None:
        next_check = time.monotonic()
        while not self._stopped.is_set():
            if time.monotonic() >= next_check:
                next_check = time.monotonic() + (REGISTERED_S if self._register() else WITHOUT_PROJECT_S)
            if hints := self._gather():
                self._pass_on(hints)

    def _register(self) -> bool:
        """Register the webhook if it is missing; its status is logged only when it changes."""
        try:
            registered = self._servers.register()
            status = "The webhook is registered" if registered else "Label Studio has no project yet: trying again"
        except PlanksegError as error:
            registered, status = False, f"The webhook is not registered: {error}"
        if status != self._status:
            log.info(status)
            self._status = status
        return registered

    def _gather(self) -> list[Hint]:
        """The hints of one burst; none if a quarter of a second brings none."""
        try:
            hints = [self._hints.get(timeout=0.25)]
        except Empty:
            return []
        self._stopped.wait(self._burst_s)
        while not self._hints.empty():
            hints.append(self._hints.get_nowait())
        return hints

    def _pass_on(self, hints: Sequence[Hint]) -> None:
        """Send one event per task, and one more if no task is open in the newest of their rounds or a later one.

        That one is sent once, however often answers are changed afterwards, and again if tasks were added since.
        """
        rounds = {hint.task_id: hint.round for hint in hints}
        events = [self._event(TASK_ANSWERED, task=task, round=n) for task, n in rounds.items()]
        complete = self._completed_round(max(rounds.values()))
        if complete and complete != self._announced:
            events.append(self._event(ROUND_ANSWERED, round=complete[0]))
        if self._servers.send(events) and complete:
            self._announced = complete

    def _completed_round(self, newest: int) -> tuple[int, int] | None:
        """The round and the number of tasks from it on, if none of them is open; else None."""
        try:
            count = self._servers.count(newest)
        except PlanksegError as error:
            log.warning("Whether round %d is complete is left to the schedule: %s", newest, error)
            return None
        log.info("Round %d: %d of %d tasks open", newest, count.open, count.tasks)
        return None if count.open else (newest, count.tasks)

    def _event(self, name: str, **payload: int) -> Event:
        return make_event(name, payload, project=self._project)
