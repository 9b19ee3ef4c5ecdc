"""The flow `collect` names what it does not use: one line of the log for each kind, each task in the Prefect UI."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import flows.collect as collecting
from flows.support import artifacts
from tests.support.annotation_desk import PREMASK, Desk, desk_with_round

pytestmark = pytest.mark.slow  # loads Prefect


def test_what_is_not_used_is_logged_once_for_each_kind_and_listed_task_by_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    desk: Desk = desk_with_round(tmp_path)
    desk.answer(0, PREMASK)
    desk.answer(1, result=[{"type": "[polygon](http://evil.invalid)", "from_name": "mask"}])
    desk.server.import_tasks(desk.project, [{"data": {"image": f"http://elsewhere.invalid/{n}"}} for n in range(700)])
    for _, task in desk.server._tasks.values():
        if "key" not in task["data"]:
            desk.server.create_annotation(task["id"], [], lead_time=1.0)
    shown: dict[str, Any] = {}

    @contextmanager
    def connect(_: object) -> Iterator[object]:
        yield desk.server

    monkeypatch.setattr(collecting, "connect", connect)
    monkeypatch.setattr(collecting, "open_store", lambda: desk.store)
    monkeypatch.setattr(collecting, "project_for", lambda *_: desk.project)
    for module in (collecting, artifacts):
        monkeypatch.setattr(module, "get_run_logger", lambda: logging.getLogger("flow"))
    monkeypatch.setattr(artifacts, "create_table_artifact", lambda **given: shown.update({given["key"]: given}))
    with caplog.at_level(logging.INFO):
        report = collecting.fetch_answers.fn()
    assert (report.new, report.open) == (2, 2)
    warnings = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 2
    assert any(text.startswith("700 Label Studio tasks (") for text in warnings)
    table = shown["collect-not-used"]
    assert len(table["table"]) == artifacts.TASKS_SHOWN
    assert "\\[polygon\\](http\\://evil.invalid)" in table["table"][0]["reason"]
    assert "701 answers and tasks" in table["description"]
