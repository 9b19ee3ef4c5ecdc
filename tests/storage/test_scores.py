"""Scores and choices of backends are kept once, whoever writes them at the same moment."""

from pathlib import Path

import pytest
from racing import race
from storage_rows import sha

from plankseg.storage.calibrations import CalibrationRow, Calibrations
from plankseg.storage.store import Store
from plankseg.storage.tables import DeltaTables


def calibration(backend: str, key: str = "a") -> CalibrationRow:
    return CalibrationRow(key=sha(key), model_id=sha("model"), machine="this one", backend=backend, record="{}")


def settle(root: str, backend: str) -> str:
    return Calibrations(DeltaTables(root)).settle(calibration(backend)).backend


def test_scores_come_back_under_their_key_and_for_the_images_asked(root: str) -> None:
    scores = Store.open(root).scores
    assert scores.known("a", ["one"]) == {}
    scores.keep("a", {"one": 0.1 + 0.2, "two": 2.0})
    scores.keep("b", {"one": 3.0})
    assert scores.known("a", ["two", "one", "three"]) == {"one": 0.1 + 0.2, "two": 2.0}
    assert scores.known("b", ["one", "two"]) == {"one": 3.0}
    assert scores.known("c", ["one"]) == {}


def test_the_same_scores_twice_are_once_and_of_two_the_order_of_writing_does_not_matter(tmp_path: Path) -> None:
    found = []
    for order in ((1.0, 1.5), (1.5, 1.0)):
        store = Store.open(tmp_path / str(order[0]))
        store.scores.keep("a", {"one": order[0]})
        version = store.tables.version("scores")
        store.scores.keep("a", {"one": order[0]})
        store.scores.keep("a", {})
        assert store.tables.version("scores") == version
        store.scores.keep("a", {"one": order[1], "two": 0.0})
        found.append(store.scores.known("a", ["one", "two"]))
    assert found == [{"one": 1.0, "two": 0.0}] * 2


def test_the_first_choice_holds(root: str) -> None:
    calibrations = Store.open(root).calibrations
    assert calibrations.of(sha("a")) is None
    assert calibrations.settle(calibration("folded")).backend == "folded"
    assert calibrations.settle(calibration("torch")).backend == "folded"
    assert calibrations.settle(calibration("torch", key="b")).backend == "torch"


@pytest.mark.slow
def test_two_that_choose_at_once_end_with_one_choice(tmp_path: Path) -> None:
    chosen = race(settle, [(str(tmp_path), "folded"), (str(tmp_path), "torch")])
    assert chosen in (["folded", "folded"], ["torch", "torch"])
