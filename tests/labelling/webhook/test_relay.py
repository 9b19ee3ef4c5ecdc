"""The relay believes nobody without the secret and reads no large body; bursts and faults of others leave it be."""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from fastapi.testclient import TestClient

from plankseg.config import Settings
from plankseg.errors import LabelStudioAuthError, LabelStudioDownError, SettingsError
from plankseg.labelling.api.webhook_payload import RELAY_HEADER, Hint
from plankseg.labelling.webhook import debounce, relay
from plankseg.labelling.webhook.debounce import Count, EventDebouncer
from plankseg.labelling.webhook.prefect_events import (
    ROUND_ANSWERED,
    TASK_ANSWERED,
    Event,
    authorization,
    make_event,
    tell_prefect,
)

SHARED = "a shared word for tests"


def said(task: int = 5, round: object = 1, action: str = "ANNOTATION_CREATED") -> dict[str, Any]:
    return {"action": action, "annotation": {"id": 9}, "task": {"id": task, "data": {"round": round}}}


@pytest.fixture
def hints() -> list[Hint]:
    return []


@pytest.fixture
def web(hints: list[Hint]) -> TestClient:
    return TestClient(relay.build_app(SHARED, hints.append), headers={RELAY_HEADER: SHARED})


# --- the webhook -----------------------------------------------------------------------------------------------------


def test_an_answer_is_kept_as_a_hint(web: TestClient, hints: list[Hint]) -> None:
    assert web.post("/label-studio", json=said()).status_code == 204
    assert hints == [Hint(task_id=5, round=1, action="ANNOTATION_CREATED")]
    assert web.get("/health").json() == {"status": "UP"}


@pytest.mark.parametrize("given", ["", "a shared word for test", SHARED.upper(), "ä"])
def test_a_wrong_secret_is_refused_before_the_body_is_read(web: TestClient, hints: list[Hint], given: str) -> None:
    answer = web.post("/label-studio", content=b"x" * (relay.BODY_BYTES + 1), headers={RELAY_HEADER: given.encode()})
    assert answer.status_code == 403
    assert SHARED not in answer.text
    assert hints == []


def test_without_the_header_nobody_is_heard(hints: list[Hint]) -> None:
    assert TestClient(relay.build_app(SHARED, hints.append)).post("/label-studio", json=said()).status_code == 403
    assert hints == []


def test_a_body_that_is_too_large_is_refused(web: TestClient, hints: list[Hint]) -> None:
    body = json.dumps(said() | {"padding": "x" * relay.BODY_BYTES}).encode()
    assert web.post("/label-studio", content=body).status_code == 413
    assert hints == []


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b"null", b'"x"', b"\xff\xfe", b"[" * 200_000])
def test_a_malformed_body_is_refused(web: TestClient, hints: list[Hint], body: bytes) -> None:
    assert web.post("/label-studio", content=body).status_code == 400
    assert hints == []


@pytest.mark.parametrize(
    "body",
    [
        said(round="1"),
        said(round=True),
        said(round=None),
        said(action="TASKS_CREATED"),
        {"action": ["ANNOTATION_CREATED"], "task": {"id": 5, "data": {"round": 1}}},
        {"action": "ANNOTATION_CREATED"},
        {"action": "ANNOTATION_CREATED", "task": {"id": 5, "data": "round 1"}},
        {"action": "ANNOTATION_CREATED", "task": [7, None, "x"]},
    ],
)
def test_what_is_not_about_a_task_of_ours_is_taken_and_left_alone(
    web: TestClient, hints: list[Hint], body: dict[str, Any]
) -> None:
    assert web.post("/label-studio", json=body).status_code == 204
    assert hints == []


def test_several_answers_in_one_webhook_are_several_hints(web: TestClient, hints: list[Hint]) -> None:
    body = {"action": "ANNOTATIONS_CREATED", "task": [said(task)["task"] for task in (1, 2, 3)]}
    assert web.post("/label-studio", json=body).status_code == 204
    assert [hint.task_id for hint in hints] == [1, 2, 3]


# --- the nudge -------------------------------------------------------------------------------------------------------


class LiveServers:
    """Both servers in memory; `down` makes Label Studio go away, `deaf` makes Prefect do so."""

    def __init__(self, tasks: int = 20, still_open: int = 20) -> None:
        self.tasks, self.open = tasks, still_open
        self.down = self.deaf = False
        self.looks = 0
        self.events: list[Event] = []
        self.posts = 0
        self.registered = threading.Event()
        self.told = threading.Event()

    def register(self) -> bool:
        if self.down:
            raise LabelStudioDownError("Label Studio does not answer.")
        self.registered.set()
        return True

    def count(self, since_round: int) -> Count:
        self.looks += 1
        if self.down:
            raise LabelStudioDownError("Label Studio does not answer.")
        return Count(tasks=self.tasks, open=self.open)

    def tell(self, events: Sequence[Event]) -> bool:
        self.posts += 1
        if not self.deaf:
            self.events += events
        self.told.set()
        return not self.deaf

    def names(self) -> list[str]:
        return [event["event"] for event in self.events]


@contextmanager
def nudging_to(servers: LiveServers) -> Iterator[EventDebouncer]:
    with EventDebouncer(servers, project="plankton", settle_s=0.02) as nudger:
        yield nudger


def pass_on(nudger: EventDebouncer, servers: LiveServers, *tasks: int, round: int = 1) -> None:
    """Hint at tasks, and wait until it was passed on."""
    servers.told.clear()
    for task in tasks:
        nudger.hint(Hint(task, round, "ANNOTATION_CREATED"))
    assert servers.told.wait(10)


def test_each_answered_task_is_an_event_and_the_last_one_of_a_round_one_more() -> None:
    servers = LiveServers(tasks=2, still_open=1)
    with nudging_to(servers) as nudger:
        pass_on(nudger, servers, 7)
        servers.open = 0
        pass_on(nudger, servers, 8)
    assert servers.names() == [TASK_ANSWERED, TASK_ANSWERED, ROUND_ANSWERED]
    assert servers.events[-1]["payload"] == {"round": 1}
    assert servers.events[-1]["resource"]["prefect.resource.id"] == "plankseg.project.plankton"
    assert [event["payload"] for event in servers.events[:2]] == [{"task": 7, "round": 1}, {"task": 8, "round": 1}]


def test_a_burst_of_two_hundred_costs_few_looks_and_completes_the_round_once() -> None:
    servers = LiveServers(tasks=200, still_open=0)
    with nudging_to(servers) as nudger:
        pass_on(nudger, servers, *range(200))
        while servers.names().count(TASK_ANSWERED) < 200:
            servers.told.wait(0.05)
            servers.told.clear()
    assert servers.names().count(ROUND_ANSWERED) == 1
    assert servers.looks <= 5
    assert servers.posts == servers.looks


def test_answers_that_are_changed_after_the_round_was_complete_start_nothing() -> None:
    servers = LiveServers(still_open=0)
    with nudging_to(servers) as nudger:
        for _ in range(3):
            pass_on(nudger, servers, 7)
    assert servers.names() == [TASK_ANSWERED, ROUND_ANSWERED, TASK_ANSWERED, TASK_ANSWERED]


def test_an_image_that_replaced_a_skipped_one_completes_the_round_again() -> None:
    servers = LiveServers(tasks=20, still_open=0)
    with nudging_to(servers) as nudger:
        pass_on(nudger, servers, 20)
        servers.tasks = 21
        pass_on(nudger, servers, 21)
    assert servers.names() == [TASK_ANSWERED, ROUND_ANSWERED] * 2


def test_the_next_round_is_announced_too() -> None:
    servers = LiveServers(still_open=0)
    with nudging_to(servers) as nudger:
        pass_on(nudger, servers, 20, round=1)
        pass_on(nudger, servers, 40, round=2)
    assert servers.names().count(ROUND_ANSWERED) == 2


def test_what_prefect_did_not_take_is_announced_with_the_next_answer() -> None:
    servers = LiveServers(still_open=0)
    servers.deaf = True
    with nudging_to(servers) as nudger:
        pass_on(nudger, servers, 20)
        servers.deaf = False
        pass_on(nudger, servers, 20)
    assert servers.names() == [TASK_ANSWERED, ROUND_ANSWERED]


def test_label_studio_away_leaves_the_round_to_the_schedule(caplog: pytest.LogCaptureFixture) -> None:
    servers = LiveServers(still_open=0)
    servers.down = True
    with nudging_to(servers) as nudger:
        pass_on(nudger, servers, 20)
    assert servers.names() == [TASK_ANSWERED]
    assert "left to the schedule" in caplog.text


def test_the_webhook_is_registered_once_the_server_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debounce, "WITHOUT_PROJECT_S", 0.0)
    servers = LiveServers()
    servers.down = True
    with nudging_to(servers):
        assert not servers.registered.wait(0.3)
        servers.down = False
        assert servers.registered.wait(10)


def test_more_hints_than_can_be_kept_are_dropped_without_waiting(caplog: pytest.LogCaptureFixture) -> None:
    nudger = EventDebouncer(LiveServers(), project="plankton")  # not started: nobody takes the hints away
    for task in range(debounce.KEPT_HINTS + 1):
        nudger.hint(Hint(task, 1, "ANNOTATION_CREATED"))
    assert "dropped" in caplog.text


# --- Prefect ---------------------------------------------------------------------------------------------------------


@contextmanager
def prefect_that_answers(*statuses: int) -> Iterator[tuple[str, list[tuple[str | None, Any]]]]:
    """A server that answers these, and what it was sent: the authorization and the events."""
    got: list[tuple[str | None, Any]] = []
    script = list(statuses)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(
                (self.headers.get("Authorization"), json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            )
            self.send_response(script.pop(0))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/api", got
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


EVENT = make_event(TASK_ANSWERED, {"task": 1, "round": 1}, project="plankton")


def test_a_prefect_that_stumbles_is_told_again_with_the_same_event() -> None:
    with prefect_that_answers(503, 500, 204) as (url, got):
        assert tell_prefect(url, [EVENT], waits_s=(0.01, 0.01))
    assert [events[0]["id"] for _, events in got] == [EVENT["id"]] * 3


def test_a_prefect_that_refuses_is_not_told_again(caplog: pytest.LogCaptureFixture) -> None:
    with prefect_that_answers(422) as (url, got):
        assert not tell_prefect(url, [EVENT], waits_s=(0.01, 0.01))
    assert len(got) == 1
    assert "422" in caplog.text


def test_a_prefect_that_is_down_is_given_up_with_a_line_that_says_what_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert not tell_prefect("http://127.0.0.1:9/api", [EVENT], waits_s=(0.01, 0.01))
    assert "the schedule goes on" in caplog.text


def test_a_key_or_a_password_of_prefect_is_sent_along() -> None:
    headers = authorization({"PREFECT_API_KEY": "pnu_1"})
    with prefect_that_answers(204) as (url, got):
        assert tell_prefect(url, [EVENT], headers=headers)
    assert got[0][0] == "Bearer pnu_1"
    assert authorization({"PREFECT_API_AUTH_STRING": "admin:pass"}) == {"Authorization": "Basic YWRtaW46cGFzcw=="}
    assert authorization({}) == {}


def test_the_relay_does_not_start_without_secret_or_token() -> None:
    url = "http://127.0.0.1:9/api"
    with pytest.raises(SettingsError, match="PLANKSEG_WEBHOOK_SECRET"):
        relay.serve(Settings(_env_file=None, webhook_secret=None), port=9, prefect_api_url=url)
    with pytest.raises(LabelStudioAuthError, match="PLANKSEG_LABEL_STUDIO_TOKEN"):
        relay.serve(
            Settings(_env_file=None, webhook_secret=SHARED, label_studio_token=None), port=9, prefect_api_url=url
        )
