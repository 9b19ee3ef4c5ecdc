"""A round whose servers, store and processes fail ends in the same rounds, labels and models as without the faults.

Real servers, one at a time stopped, killed, locked or told a wrong time. Kills of `advance` itself, at every point,
are in test_killed_proposing and test_killed_learning.
"""

import logging
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

from plankseg.labelling.api.client import LabelStudioClient
from plankseg.labelling.api.webhook_payload import is_relay_webhook
from plankseg.storage import schemas
from plankseg.storage.tables.labels import Labels
from tests.support.fault_harness import ENDED, Stage, once_before, stage_in
from tests.support.prefect_api import log_in, tick_every, until
from tests.support.small_world import World

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(900)]
Outcome = dict[str, Any]


@pytest.fixture(scope="module")
def stage(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Servers of this module's own, for they are stopped and killed."""
    with stage_in(tmp_path_factory.mktemp("stage"), world) as stage:
        yield stage


@pytest.fixture(scope="module")
def calm(stage: Stage) -> Outcome:
    """How a round ends that nothing disturbs: answered, trained on, and the next twenty waiting."""
    answered(stage)
    assert stage.advance().is_completed()
    outcome = stage.outcome()
    assert [(row["round"], row["proposed"], row["answered"]) for row in outcome["table"]] == [(1, 20, 20), (2, 20, 0)]
    assert [row[0] for row in outcome["models"]] == [0, 1]
    return outcome


def answered(stage: Stage) -> None:
    """A new round in Label Studio, answered and not collected."""
    stage.begin()
    stage.push()
    stage.answer()


# --- servers that go away -------------------------------------------------------------------------------------------


def test_label_studio_restarted_during_the_push(
    stage: Stage, calm: Outcome, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stage.begin()
    happened = once_before(monkeypatch, LabelStudioClient, "import_tasks", lambda: stage.restart("Label Studio"))
    with caplog.at_level(logging.WARNING):
        assert stage.advance().is_completed()
    assert happened
    assert "Label Studio does not answer" in caplog.text
    stage.answer()
    assert stage.advance().is_completed()
    assert stage.outcome() == calm


def test_label_studio_restarted_during_the_collect(
    stage: Stage, calm: Outcome, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answered(stage)
    happened = once_before(monkeypatch, LabelStudioClient, "list_tasks", lambda: stage.restart("Label Studio"))
    with caplog.at_level(logging.WARNING):
        assert stage.advance().is_completed()
    assert happened
    assert "Label Studio does not answer" in caplog.text
    assert stage.outcome() == calm


def test_prefect_restarted_during_the_training(stage: Stage, calm: Outcome, tmp_path: Path) -> None:
    answered(stage)
    held = stage.press_run("advance_regularly", hold=("in the middle of the training", tmp_path))
    until((tmp_path / "here").exists, what=lambda: stage.output_of(held))
    stage.restart("Prefect")
    stage.running["Prefect"].wait()
    assert stage.run(held)["state_type"] == "RUNNING"
    lease = stage.run(held)["state"]["state_details"]["deployment_concurrency_lease_id"]
    url = f"{stage.at.prefect_url}/api/v2/concurrency_limits/leases/{lease}/renew"
    renewed = httpx.post(url, auth=log_in(stage.at), json={}, timeout=30, trust_env=False)
    assert renewed.is_success, "else Prefect ends the run when it renews its lease, every 225 s"
    assert stage.wait_for(stage.press_run("advance_regularly"))["state_type"] == "CANCELLED", "the next tick is dropped"
    (tmp_path / "go").touch()
    assert stage.wait_for(held)["state_type"] == "COMPLETED"
    assert stage.outcome() == calm


def test_worker_and_run_killed_together_are_found_by_the_next_run(stage: Stage, calm: Outcome, tmp_path: Path) -> None:
    answered(stage)
    killed = stage.press_run(hold=("in the middle of the training", tmp_path))
    until((tmp_path / "here").exists, what=lambda: stage.output_of(killed))
    stage.kill("worker")
    assert stage.run(killed)["state_type"] == "RUNNING", "nobody is left to say that it is not"
    stage.start("worker")
    again = stage.wait_for(stage.press_run("advance_regularly"))
    assert again["state_type"] == "COMPLETED", stage.output_of(again["id"])
    assert stage.run(killed)["state"]["message"].startswith("Its process was killed and the worker with it")
    assert [run["name"] for flow in ("advance", "retrain") for run in stage.runs_of(flow, "RUNNING")] == []
    assert stage.deployment("advance")["global_concurrency_limit"]["active_slots"] == 0
    assert "epoch 2:" in stage.log_of(again["id"])
    assert "epoch 1:" not in stage.log_of(again["id"]), "the training went on, it did not begin anew"
    assert stage.outcome() == calm


# --- clocks and locks -----------------------------------------------------------------------------------------------


def test_clocks_that_jump_while_the_round_is_answered_and_learnt(
    stage: Stage, calm: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.begin()
    project = stage.push()
    stage.set_label_studio_clock(7200)
    stage.answer()
    with stage.label_studio() as client:
        corrected = next(
            task
            for task in client.list_tasks(project, 1)
            if task["annotations"][0]["result"] and not task["annotations"][0]["was_cancelled"]
        )
        answer = corrected["annotations"][0]
        client.update_annotation(answer["id"], [], lead_time=1.0)
        collect_alone(stage)
        stage.set_label_studio_clock(-86400)
        client.update_annotation(answer["id"], answer["result"], lead_time=answer["lead_time"])
        assert client.list_tasks(project, 1)[0]["id"] <= corrected["id"]
    monkeypatch.setattr(schemas, "datetime", ThirtyDaysAgo)
    assert stage.advance().is_completed()
    outcome = stage.outcome()
    stage.set_label_studio_clock(0)
    assert outcome.pop("versions")[corrected["data"]["image_id"]] == 2
    assert outcome == {name: value for name, value in calm.items() if name != "versions"}


class ThirtyDaysAgo(datetime):
    """Our own clock, gone back."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        return super().now(tz) - timedelta(days=30)


def collect_alone(stage: Stage) -> None:
    """Take in what is answered so far."""
    from flows.collect import collect

    assert collect() == "20 new answers, 0 images open"


@contextmanager
def locked(database: Path, seconds: float) -> Iterator[None]:
    """Keep others from a database for a while, from another thread; wait for its end."""
    begun = threading.Event()

    def lock() -> None:
        connection = sqlite3.connect(database, timeout=30)
        connection.execute("BEGIN EXCLUSIVE")
        begun.set()
        time.sleep(seconds)
        connection.rollback()
        connection.close()

    locker = threading.Thread(target=lock)
    locker.start()
    assert begun.wait(40)
    yield
    locker.join()


def test_a_locked_database_of_label_studio(stage: Stage, calm: Outcome, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.begin()
    (database,) = stage.at.directory.rglob("label_studio.sqlite3")
    log = stage.running["Label Studio"].log
    before = log.read_text(errors="replace").count("database is locked")
    held = locked(database, 12)
    happened = once_before(monkeypatch, LabelStudioClient, "import_tasks", held.__enter__)
    stage.advance()  # may fail; it may not lose or double anything
    assert happened
    held.__exit__(None, None, None)
    assert log.read_text(errors="replace").count("database is locked") > before
    assert stage.advance().is_completed()
    stage.answer()
    assert stage.advance().is_completed()
    assert stage.outcome() == calm


def test_a_locked_database_of_prefect(stage: Stage, calm: Outcome, monkeypatch: pytest.MonkeyPatch) -> None:
    answered(stage)
    database = Path(stage.environment["PREFECT_HOME"]) / "prefect.db"

    def lock_and_write() -> bool:
        with locked(database, 8):
            return does_not_take(f"{stage.at.prefect_url}/api/variables/", log_in(stage.at))

    with ThreadPoolExecutor(1) as pool:
        refused: list[Future[bool]] = []
        once_before(monkeypatch, Labels, "add", lambda: refused.append(pool.submit(lock_and_write)))
        assert stage.advance().is_completed()
    assert refused[0].result(), "the lock was real"
    assert stage.outcome() == calm


def does_not_take(url: str, auth: tuple[str, str]) -> bool:
    """Whether Prefect can write nothing now: it lets us wait, or says that its database is busy."""
    try:
        body = {"name": "a_trial", "value": 1}
        return httpx.post(url, auth=auth, json=body, timeout=4, trust_env=False).status_code == 503
    except httpx.ReadTimeout:
        return True


# --- more than there should be --------------------------------------------------------------------------------------


def test_a_project_of_a_thousand_tasks(stage: Stage, calm: Outcome) -> None:
    stage.begin()
    project = stage.push()
    with stage.label_studio() as client:
        client.import_tasks(project, [{"data": {"image": f"/data/nothing-{n}.png"}} for n in range(1000)])
        stage.answer()
        assert stage.advance().is_completed()
        assert len(client.list_tasks(project)) == 1000 + 20 + 20
    assert stage.outcome() == calm


def with_relay(stage: Stage) -> int:
    """A new round, and a relay that has just registered its webhook in it; the project."""
    stage.begin()
    project = stage.push()
    if "relay" in stage.running:
        stage.stop("relay")
    stage.start("relay")
    stage.running["relay"].wait()
    until(lambda: relay_hook(stage, project), what=stage.running["relay"].tail)
    return project


def relay_hook(stage: Stage, project: int) -> dict[str, Any] | None:
    """The webhook that the relay registered in a project."""
    with stage.label_studio() as client:
        return next((row for row in client._read("api/webhooks/") if is_relay_webhook(row, project)), None)


def trainings(stage: Stage) -> int:
    """How often Prefect was asked to retrain."""
    return len(stage.runs_of("retrain"))


def until_at_rest(stage: Stage, runs_before: int) -> None:
    """Wait for a new run of `advance`, and until none waits or works any more."""

    def at_rest() -> bool:
        runs = stage.runs_of("advance")  # those of other cases too, which may well have failed
        return len(runs) > runs_before and all(run["state_type"] in ENDED for run in runs)

    until(at_rest, what=lambda: states_of_runs(stage))


def states_of_runs(stage: Stage) -> str:
    """Every run of `advance` and how far it is."""
    return str([(run["name"], run["state_name"], stage.log_of(run["id"])) for run in stage.runs_of("advance")[:10]])


def test_a_storm_of_two_hundred_webhooks_brings_one_training(stage: Stage, calm: Outcome) -> None:
    project = with_relay(stage)
    trained, ran = trainings(stage), len(stage.runs_of("advance"))
    stage.answer()
    with stage.label_studio() as client, ThreadPoolExecutor(4) as pool:
        answers = [task["annotations"][0] for task in client.list_tasks(project, 1)]
        edits = ([answer for answer in answers if not answer["was_cancelled"]] * 20)[:180]

        def edit(answer: dict[str, Any]) -> None:
            client.update_annotation(answer["id"], answer["result"], lead_time=answer["lead_time"])

        list(pool.map(edit, edits))
    until_at_rest(stage, ran)
    assert "refused" not in stage.running["relay"].log.read_text()
    assert stage.advance().is_completed()  # takes in what was edited after the run had looked
    assert trainings(stage) == trained + 1
    without_versions = [
        {name: value for name, value in outcome.items() if name != "versions"} for outcome in (stage.outcome(), calm)
    ]
    assert without_versions[0] == without_versions[1]


def test_a_relay_with_the_wrong_secret_moves_nothing_and_the_clock_does(stage: Stage, calm: Outcome) -> None:
    project = with_relay(stage)
    trained, ran = trainings(stage), len(stage.runs_of("advance"))
    with stage.label_studio() as client:
        client.ensure_webhook(
            project, f"http://127.0.0.1:{stage.at.relay_port}/label-studio", "a word of somebody else"
        )
    stage.answer()
    log = stage.running["relay"].log
    until(lambda: log.read_text().count("refused with 403") == 20, what=log.read_text, timeout_s=10)
    assert len(stage.runs_of("advance")) == ran
    assert stage.advance().is_completed()
    assert trainings(stage) == trained + 1
    assert stage.outcome() == calm


def test_without_a_relay_the_schedule_finishes_the_round(stage: Stage, calm: Outcome) -> None:
    with_relay(stage)
    stage.stop("relay")
    trained, ran = trainings(stage), len(stage.runs_of("advance"))
    stage.answer()
    tick_every(stage.at, 15)
    until(lambda: stage.store.proposals.rounds() == [1, 2], what=lambda: states_of_runs(stage))
    tick_every(stage.at, None)
    until_at_rest(stage, ran)
    assert trainings(stage) == trained + 1
    assert stage.outcome() == calm


def test_a_revoked_token(stage: Stage, calm: Outcome, monkeypatch: pytest.MonkeyPatch) -> None:
    answered(stage)
    with stage.label_studio() as client:
        fresh = client._write("POST", "api/current-user/reset-token", {})["token"]
    stopped = stage.advance()
    assert stopped.is_failed()
    assert "Copy a new one from Account & Settings" in str(stopped.message)
    assert stage.store.labels.answered(1) == []
    stage.environment["PLANKSEG_LABEL_STUDIO_TOKEN"] = fresh
    monkeypatch.setenv("PLANKSEG_LABEL_STUDIO_TOKEN", fresh)
    assert stage.advance().is_completed()
    assert stage.outcome() == calm
