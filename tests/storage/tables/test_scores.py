"""Scores and choices of backends are kept once, whoever writes them at the same moment."""

from pathlib import Path

import pytest

from plankseg.storage.delta_tables import DeltaTables
from plankseg.storage.store import Store
from plankseg.storage.tables.backend_choices import BackendChoiceRow, BackendChoices
from tests.support.racing_processes import race
from tests.support.table_rows import sha


def calibration(backend: str, key: str = "a") -> BackendChoiceRow:
    return BackendChoiceRow(key=sha(key), model_id=sha("model"), machine="this one", backend=backend, record="{}")


def settle(root: str, backend: str) -> str:
    return BackendChoices(DeltaTables(root)).settle(calibration(backend)).backend


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
    calibrations = Store.open(root).backend_choices
    assert calibrations.of(sha("a")) is None
    assert calibrations.settle(calibration("folded")).backend == "folded"
    assert calibrations.settle(calibration("torch")).backend == "folded"
    assert calibrations.settle(calibration("torch", key="b")).backend == "torch"


@pytest.mark.slow
def test_two_that_choose_at_once_end_with_one_choice(tmp_path: Path) -> None:
    chosen = race(settle, [(str(tmp_path), "folded"), (str(tmp_path), "torch")])
    assert chosen in (["folded", "folded"], ["torch", "torch"])
