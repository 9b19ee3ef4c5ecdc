"""The relay accepts nobody without the secret, and reads no large body."""

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from plankseg.config import Settings
from plankseg.errors import LabelStudioAuthError, SettingsError
from plankseg.labelling.api.webhook_payload import RELAY_HEADER, Hint
from plankseg.labelling.webhook import relay

SHARED = "a shared word for tests"


def webhook_body(task: int = 5, round: object = 1, action: str = "ANNOTATION_CREATED") -> dict[str, Any]:
    return {"action": action, "annotation": {"id": 9}, "task": {"id": task, "data": {"round": round}}}


@pytest.fixture
def hints() -> list[Hint]:
    return []


@pytest.fixture
def web(hints: list[Hint]) -> TestClient:
    return TestClient(relay.build_app(SHARED, hints.append), headers={RELAY_HEADER: SHARED})


# --- the webhook -----------------------------------------------------------------------------------------------------


def test_an_answer_is_kept_as_a_hint(web: TestClient, hints: list[Hint]) -> None:
    assert web.post("/label-studio", json=webhook_body()).status_code == 204
    assert hints == [Hint(task_id=5, round=1, action="ANNOTATION_CREATED")]
    assert web.get("/health").json() == {"status": "UP"}


@pytest.mark.parametrize("given", ["", "a shared word for test", SHARED.upper(), "ä"])
def test_a_wrong_secret_is_refused_before_the_body_is_read(web: TestClient, hints: list[Hint], given: str) -> None:
    answer = web.post("/label-studio", content=b"x" * (relay.BODY_BYTES + 1), headers={RELAY_HEADER: given.encode()})
    assert answer.status_code == 403
    assert SHARED not in answer.text
    assert hints == []


def test_without_the_header_nobody_is_heard(hints: list[Hint]) -> None:
    assert (
        TestClient(relay.build_app(SHARED, hints.append)).post("/label-studio", json=webhook_body()).status_code == 403
    )
    assert hints == []


def test_a_body_that_is_too_large_is_refused(web: TestClient, hints: list[Hint]) -> None:
    body = json.dumps(webhook_body() | {"padding": "x" * relay.BODY_BYTES}).encode()
    assert web.post("/label-studio", content=body).status_code == 413
    assert hints == []


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b"null", b'"x"', b"\xff\xfe", b"[" * 200_000])
def test_a_malformed_body_is_refused(web: TestClient, hints: list[Hint], body: bytes) -> None:
    assert web.post("/label-studio", content=body).status_code == 400
    assert hints == []


@pytest.mark.parametrize(
    "body",
    [
        webhook_body(round="1"),
        webhook_body(round=True),
        webhook_body(round=None),
        webhook_body(action="TASKS_CREATED"),
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
    body = {"action": "ANNOTATIONS_CREATED", "task": [webhook_body(task)["task"] for task in (1, 2, 3)]}
    assert web.post("/label-studio", json=body).status_code == 204
    assert [hint.task_id for hint in hints] == [1, 2, 3]


def test_the_relay_does_not_start_without_secret_or_token() -> None:
    url = "http://127.0.0.1:9/api"
    with pytest.raises(SettingsError, match="PLANKSEG_WEBHOOK_SECRET"):
        relay.serve(Settings(_env_file=None, webhook_secret=None), port=9, prefect_api_url=url)
    with pytest.raises(LabelStudioAuthError, match="PLANKSEG_LABEL_STUDIO_TOKEN"):
        relay.serve(
            Settings(_env_file=None, webhook_secret=SHARED, label_studio_token=None), port=9, prefect_api_url=url
        )
