"""Conventional methods as lines below the models, in the terminal's table and on the report's page."""

import io
import json
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path

import pytest
from rich.console import Console

from plankseg.cli.status_tables import show
from plankseg.config import RoundsConfig
from plankseg.pipeline.models.rivals import AUTOMATIC, FIXED, rival_verdict
from plankseg.pipeline.reports.standing_tables import RivalLine, rival_lines, rival_sentence, verdict_unless_told
from plankseg.pipeline.reports.status import Status, read_status
from plankseg.pipeline.reports.store_report import write_report
from plankseg.storage.store import Store
from tests.support.html_tags import Tags
from tests.support.little_store import add_model, store_with


def half_of(values: list[float]) -> dict[str, list[float]]:
    return {f"{number}": [value, value] for number, value in enumerate(values)}


@pytest.fixture
def judged(tmp_path: Path) -> Store:
    """A model on halves of six and eight images beside two methods; one rejects two of the test half."""
    own = {"selection": {"images": half_of([0.8] * 6)}, "test": {"images": half_of([0.8] * 8)}}
    rivals = {
        "selection": {AUTOMATIC: half_of([0.7] * 6), FIXED: half_of([0.3] * 6)},
        "test": {AUTOMATIC: half_of([0.9] * 6), FIXED: half_of([0.4] * 8)},
    }
    metrics = {"measures": own, "rivals": rivals, "test": {"dice": 0.8, "dice_interval": [0.7, 0.9], "images": 8}}
    verdict = rival_verdict(metrics)
    assert verdict is not None
    store = store_with(tmp_path / "store", source=1, validation=2)
    row = add_model(store_with(tmp_path / "other", source=1), 0)
    recorded = json.dumps(metrics | {"against_rivals": asdict(verdict)})
    assert store.models.commit(replace(row, model_id=store.models.put_weights(b"judged"), metrics=recorded))
    return store


def status_of(store: Store) -> Status:
    return read_status(store, RoundsConfig())


def test_each_method_has_its_dice_on_both_halves_and_how_many_images_it_masks(judged: Store) -> None:
    assert rival_lines(status_of(judged)) == [
        RivalLine(AUTOMATIC, pytest.approx(0.7), pytest.approx(0.9), masked=12, images=14),
        RivalLine(FIXED, pytest.approx(0.3), pytest.approx(0.4), masked=14, images=14),
    ]


def test_without_a_comparison_there_is_no_line(tmp_path: Path) -> None:
    store = store_with(tmp_path, source=1)
    add_model(store, 0)
    assert rival_lines(status_of(store)) == []


def test_the_tables_of_models_have_them_and_the_sentence_says_that_the_model_is_not_better(
    judged: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Console(width=200, file=io.StringIO())
    monkeypatch.setattr(import_module("plankseg.cli.status_tables"), "console", terminal)
    show(status_of(judged))
    write_report(judged, tmp_path / "report.html")
    words = "no model; masks for 12 of 14 images"
    verdict = "Model 0 is worse than the automatic mask (level), which needs no model: Dice 0.800 against 0.900"
    shown = terminal.file.getvalue()
    models = shown[shown.index("Models") : shown.index("Model in use and")]
    assert [line.split()[:2] for line in models.splitlines() if f"automatic mask (level): {words}" in line] == [
        ["0.700", "0.900"]
    ]
    assert verdict in shown
    page = Tags.of(tmp_path / "report.html")
    assert words in page.text
    assert verdict in page.text


def test_the_verdict_is_said_once(judged: Store) -> None:
    status = status_of(judged)
    assert verdict_unless_told(status) == rival_sentence(status) != ""
    words = rival_sentence(status).partition(" is ")[2].rstrip(".")
    told = [decision.model_copy(update={"reason": f"{words}; the first model"}) for decision in status.decisions]
    assert verdict_unless_told(status.model_copy(update={"decisions": told})) == ""


def test_that_nothing_was_compared_is_said_too(tmp_path: Path) -> None:
    store = store_with(tmp_path, source=1)
    add_model(store, 0)
    assert verdict_unless_told(status_of(store)).startswith("The model in use was not compared")
