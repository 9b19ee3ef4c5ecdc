"""Each answered task becomes one event, a complete round one more; bursts and faults of the servers do no harm."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from plankseg.errors import LabelStudioDownError
from plankseg.labelling.api.webhook_payload import Hint
from plankseg.labelling.webhook import debounce
from plankseg.labelling.webhook.debounce import EventDebouncer, TaskCount
from plankseg.labelling.webhook.prefect_events import ROUND_ANSWERED, TASK_ANSWERED, Event


class LiveServers:
    """Both servers in memory; `down` makes Label Studio go away, `deaf` makes Prefect do so."""

    def __init__(self, tasks: int = 20, still_open: int = 20) -> None:
        self.tasks, self.open = tasks, still_open
        self.down = self.deaf = False
        self.checks = 0
        self.events: list[Event] = []
        self.posts = 0
        self.registered = threading.Event()
        self.sent = threading.Event()

    def register(self) -> bool:
        if self.down:
            raise LabelStudioDownError("Label Studio does not answer.")
        self.registered.set()
        return True

    def count(self, since_round: int) -> TaskCount:
        self.checks += 1
        if self.down:
            raise LabelStudioDownError("Label Studio does not answer.")
        return TaskCount(tasks=self.tasks, open=self.open)

    def send(self, events: Sequence[Event]) -> bool:
        self.posts += 1
        if not self.deaf:
            self.events += events
        self.sent.set()
        return not self.deaf

    def names(self) -> list[str]:
        return [event["event"] for event in self.events]


@contextmanager
def debouncing(servers: LiveServers) -> Iterator[EventDebouncer]:
    with EventDebouncer(servers, project="plankton", burst_s=0.02) as debouncer:
        yield debouncer


def pass_on(debouncer: EventDebouncer, servers: LiveServers, *tasks: int, round: int = 1) -> None:
    """Hint at tasks, and wait until it was passed on."""
    servers.sent.clear()
    for task in tasks:
        debouncer.hint(Hint(task, round, "ANNOTATION_CREATED"))
    assert servers.sent.wait(10)


def test_each_answered_task_is_an_event_and_the_last_one_of_a_round_one_more() -> None:
    servers = LiveServers(tasks=2, still_open=1)
    with debouncing(servers) as debouncer:
        pass_on(debouncer, servers, 7)
        servers.open = 0
        pass_on(debouncer, servers, 8)
    assert servers.names() == [TASK_ANSWERED, TASK_ANSWERED, ROUND_ANSWERED]
    assert servers.events[-1]["payload"] == {"round": 1}
    assert servers.events[-1]["resource"]["prefect.resource.id"] == "plankseg.project.plankton"
    assert [event["payload"] for event in servers.events[:2]] == [{"task": 7, "round": 1}, {"task": 8, "round": 1}]


def test_a_burst_of_two_hundred_costs_few_checks_and_completes_the_round_once() -> None:
    servers = LiveServers(tasks=200, still_open=0)
    with debouncing(servers) as debouncer:
        pass_on(debouncer, servers, *range(200))
        while servers.names().count(TASK_ANSWERED) < 200:
            servers.sent.wait(0.05)
            servers.sent.clear()
    assert servers.names().count(ROUND_ANSWERED) == 1
    assert servers.checks <= 5
    assert servers.posts == servers.checks


def test_answers_that_are_changed_after_the_round_was_complete_start_nothing() -> None:
    servers = LiveServers(still_open=0)
    with debouncing(servers) as debouncer:
        for _ in range(3):
            pass_on(debouncer, servers, 7)
    assert servers.names() == [TASK_ANSWERED, ROUND_ANSWERED, TASK_ANSWERED, TASK_ANSWERED]


def test_an_image_that_replaced_a_skipped_one_completes_the_round_again() -> None:
    servers = LiveServers(tasks=20, still_open=0)
    with debouncing(servers) as debouncer:
        pass_on(debouncer, servers, 20)
        servers.tasks = 21
        pass_on(debouncer, servers, 21)
    assert servers.names() == [TASK_ANSWERED, ROUND_ANSWERED] * 2


def test_the_next_round_is_announced_too() -> None:
    servers = LiveServers(still_open=0)
    with debouncing(servers) as debouncer:
        pass_on(debouncer, servers, 20, round=1)
        pass_on(debouncer, servers, 40, round=2)
    assert servers.names().count(ROUND_ANSWERED) == 2


def test_what_prefect_did_not_take_is_announced_with_the_next_answer() -> None:
    servers = LiveServers(still_open=0)
    servers.deaf = True
    with debouncing(servers) as debouncer:
        pass_on(debouncer, servers, 20)
        servers.deaf = False
        pass_on(debouncer, servers, 20)
    assert servers.names() == [TASK_ANSWERED, ROUND_ANSWERED]


def test_label_studio_away_leaves_the_round_to_the_schedule(caplog: pytest.LogCaptureFixture) -> None:
    servers = LiveServers(still_open=0)
    servers.down = True
    with debouncing(servers) as debouncer:
        pass_on(debouncer, servers, 20)
    assert servers.names() == [TASK_ANSWERED]
    assert "left to the schedule" in caplog.text


def test_the_webhook_is_registered_once_the_server_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debounce, "WITHOUT_PROJECT_S", 0.0)
    servers = LiveServers()
    servers.down = True
    with debouncing(servers):
        assert not servers.registered.wait(0.3)
        servers.down = False
        assert servers.registered.wait(10)


def test_more_hints_than_can_be_kept_are_dropped_without_waiting(caplog: pytest.LogCaptureFixture) -> None:
    debouncer = EventDebouncer(LiveServers(), project="plankton")  # not started: nobody takes the hints away
    for task in range(debounce.MAX_HINTS + 1):
        debouncer.hint(Hint(task, 1, "ANNOTATION_CREATED"))
    assert "dropped" in caplog.text
