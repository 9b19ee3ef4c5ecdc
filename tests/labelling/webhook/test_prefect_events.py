"""Events reach Prefect, again after a failure, with its key or password; a server that is away costs a log line."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from plankseg.labelling.webhook.prefect_events import TASK_ANSWERED, authorization, make_event, send_events


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
        assert send_events(url, [EVENT], waits_s=(0.01, 0.01))
    assert [events[0]["id"] for _, events in got] == [EVENT["id"]] * 3


def test_a_prefect_that_refuses_is_not_told_again(caplog: pytest.LogCaptureFixture) -> None:
    with prefect_that_answers(422) as (url, got):
        assert not send_events(url, [EVENT], waits_s=(0.01, 0.01))
    assert len(got) == 1
    assert "422" in caplog.text


def test_a_prefect_that_is_down_is_given_up_with_a_line_that_says_what_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert not send_events("http://127.0.0.1:9/api", [EVENT], waits_s=(0.01, 0.01))
    assert "the schedule goes on" in caplog.text


def test_a_key_or_a_password_of_prefect_is_sent_along() -> None:
    headers = authorization({"PREFECT_API_KEY": "pnu_1"})
    with prefect_that_answers(204) as (url, got):
        assert send_events(url, [EVENT], headers=headers)
    assert got[0][0] == "Bearer pnu_1"
    assert authorization({"PREFECT_API_AUTH_STRING": "admin:pass"}) == {"Authorization": "Basic YWRtaW46cGFzcw=="}
    assert authorization({}) == {}
