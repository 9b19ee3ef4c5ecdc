"""The assistant lets nobody in but Label Studio's server, keeps no token, and never fails a person who waits."""

import base64
import logging
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from plankseg.errors import ImageReadError, PromptError
from plankseg.labelling.assist import app
from plankseg.labelling.assist.app import FAILED, build_app
from plankseg.labelling.assist.protocol import AssistAnswer, AssistRequest, answer_regions
from tests.support.assist_requests import prompt, request

SECRET = "a shared word for tests"
SHAPE = (24, 40)
BODY = request("a" * 64, [prompt(6, 10, SHAPE)])
HERE = "http://127.0.0.1:8091"


def basic(user: str = "plankseg", secret: str = SECRET) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'{user}:{secret}'.encode()).decode()}"}


def ones(_: AssistRequest) -> AssistAnswer:
    return AssistAnswer(answer_regions([], np.ones(SHAPE, dtype=bool), clicks=1))


def web(answer: app.Answer = ones, **headers: str) -> TestClient:
    return TestClient(build_app(SECRET, answer), base_url=HERE, headers=basic() | headers)


def test_a_click_is_answered() -> None:
    found = web().post("/predict", json=BODY)
    assert found.status_code == 200
    ((region,),) = [row["result"] for row in found.json()["results"]]
    assert (region["id"], region["type"]) == ("premask", "brushlabels")


def test_health_needs_no_secret_and_the_rest_does() -> None:
    stranger = TestClient(build_app(SECRET, ones), base_url=HERE)
    assert stranger.get("/health").json() == {"status": "UP"}
    assert stranger.post("/setup", json={}).status_code == 401
    assert stranger.post("/predict", json=BODY).status_code == 401


@pytest.mark.parametrize(
    "header",
    [
        *(basic(secret=SECRET.upper()), basic(user="admin"), basic(secret="")),
        *({"Authorization": given} for given in ("Basic %%%", f"Bearer {SECRET}", "Basic", "")),
    ],
)
def test_a_wrong_secret_is_refused(header: dict[str, str]) -> None:
    refused = TestClient(build_app(SECRET, ones), base_url=HERE, headers=header).post("/predict", json=BODY)
    assert refused.status_code == 401
    assert SECRET not in refused.text


@pytest.mark.parametrize(
    "header",
    [
        *({"Host": "evil.example"}, {"Host": "127.0.0.1.evil.example:8091"}, {"Origin": "http://127.0.0.1:8080"}),
        *({"Sec-Fetch-Site": "same-site"}, {"Sec-Fetch-Site": "cross-site", "Origin": "null"}),
    ],
)
def test_pages_of_a_browser_and_other_names_of_this_machine_are_refused(header: dict[str, str]) -> None:
    for path in ("/predict", "/setup"):
        assert web(**header).post(path, json=BODY).status_code == 403
    assert web(**header).get("/health").status_code == 403


def test_the_token_in_setup_is_neither_logged_nor_given_back(caplog: pytest.LogCaptureFixture) -> None:
    token = "0123456789abcdef0123456789abcdef01234567"
    with caplog.at_level(logging.DEBUG):
        found = web().post("/setup", json={"project": "1.2", "access_token": token, "hostname": HERE})
        web(Authorization="").post("/setup", json={"access_token": token})
    assert found.status_code == 200
    assert token not in found.text
    assert token not in caplog.text


def test_a_reason_of_ours_reaches_the_person_and_the_mask_stays() -> None:
    def refuse(_: AssistRequest) -> AssistAnswer:
        raise PromptError("click elsewhere")

    found = web(refuse).post("/predict", json=BODY)
    assert found.json() == {"results": [{"result": [], "score": 1.0, "message": "click elsewhere"}]}


@pytest.mark.parametrize("error", [ImageReadError("the file is gone"), KeyError("a mistake of ours"), MemoryError()])
def test_whatever_fails_is_an_answer_without_regions(error: Exception) -> None:
    def fail(_: AssistRequest) -> AssistAnswer:
        raise error

    (row,) = web(fail).post("/predict", json=BODY).json()["results"]
    assert row["result"] == []
    assert row["message"] in (str(error), FAILED)


@pytest.mark.parametrize("context", [None, {"result": []}])
def test_label_studios_own_test_of_the_connection_is_answered_without_regions(context: Any) -> None:
    body = BODY | {"params": {"context": context}}
    assert web().post("/predict", json=body).json()["results"] == [{"result": [], "score": 1.0}]


def test_a_body_that_is_no_request_or_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert web().post("/predict", content=b"{").status_code == 400
    monkeypatch.setattr(app, "BODY_BYTES", 100)
    assert web().post("/predict", content=b"x" * 101).status_code == 413
