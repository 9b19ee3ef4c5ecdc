"""The object behind `plankseg status --json`: outside scripts rely on its keys and its sums."""

import json
from pathlib import Path

import pytest

from plankseg.config import RoundsConfig
from plankseg.imaging.masks import dice
from plankseg.pipeline.reports.status import Status, read_status, rounds_table
from plankseg.storage.store import Store
from tests.support.little_store import MANIFEST, add_answers, add_model, add_proposal, square, store_with

MASK = square((34, 41), 9)
MODEL_KEYS = {"id", "round", "side_px", "epochs", "validation_dice", "promoted", "reason", "active", "test_dice"}
ROUND_KEYS = {
    "round",
    "proposed",
    "answered",
    "accepted",
    "corrected",
    "drawn",
    "empty",
    "skipped",
    "unusable",
    "quarantined",
    "redrawn",
    "compared",
    "seconds",
    "model",
}
KINDS = ("accepted", "corrected", "drawn", "empty", "skipped", "unusable", "quarantined")


def status_of(store: Store) -> Status:
    return read_status(store, RoundsConfig(budget=2, redrawn_below=0.95))


@pytest.fixture
def answered(tmp_path: Path) -> Store:
    """A round with an answer of every kind, one open image, and an answer that was edited."""
    store = store_with(tmp_path, source=1, pool=10, validation=2)
    add_model(store, 0)
    ids = store.catalogue.ids("pool")
    add_proposal(store, 1, ids[:9])
    close, far = {"dice_to_premask": 0.97}, {"dice_to_premask": 0.5}
    add_answers(store, 1, ids[0:2], mask=MASK, origin="accepted", seconds=4.0, dice_to_premask=1.0)
    add_answers(store, 1, ids[2:3], mask=MASK, origin="corrected", seconds=30.0, **far)
    add_answers(store, 1, ids[2:3], mask=MASK, origin="corrected", seconds=20.0, **close)
    add_answers(store, 1, ids[3:4], mask=MASK, origin="corrected", seconds=40.0, **far)
    add_answers(store, 1, ids[4:5], mask=MASK, origin="drawn", seconds=50.0)
    add_answers(store, 1, ids[5:6], mask=square((34, 41), 0), origin="empty", seconds=2.0, dice_to_premask=0.0)
    add_answers(store, 1, ids[6:7], status="skipped", seconds=900.0)
    add_answers(store, 1, ids[7:8], status="quarantined")
    add_answers(store, 1, ids[9:], mask=MASK, origin="drawn")  # nobody asked for it in this round
    return store


def test_the_object_has_the_keys_of_the_contract_and_is_json(answered: Store) -> None:
    add_model(answered, 1)
    found = json.loads(status_of(answered).model_dump_json())
    assert set(found) == {
        "store",
        "images",
        "validation",
        "models",
        "decisions",
        "rounds",
        "effort",
        "anchoring",
        "next",
    }
    assert found["images"] == {"source": 1, "pool": 10, "validation": 2}
    assert all(set(model) >= MODEL_KEYS for model in found["models"])
    assert all(set(model) - MODEL_KEYS <= {"validation_set"} for model in found["models"])
    assert [set(row) for row in found["rounds"]] == [ROUND_KEYS]
    assert found["store"] == str(answered.root)
    assert found["rounds"][0]["model"] == found["models"][1]["id"]


def test_every_answer_is_counted_in_exactly_one_kind(answered: Store) -> None:
    (row,) = status_of(answered).rounds
    assert (row.proposed, row.answered) == (9, 8)
    assert {kind: getattr(row, kind) for kind in KINDS} == {
        "accepted": 2,
        "corrected": 2,
        "drawn": 1,
        "empty": 1,
        "skipped": 1,
        "unusable": 0,
        "quarantined": 1,
    }
    assert sum(getattr(row, kind) for kind in KINDS) == row.answered


def test_redrawn_are_the_usable_answers_far_from_their_premask(answered: Store) -> None:
    (row,) = status_of(answered).rounds
    assert (row.redrawn, row.compared) == (3, 6)  # corrected by half, drawn without a pre-mask, and emptied
    (strict,) = read_status(answered, RoundsConfig(budget=2, redrawn_below=0.98)).rounds
    assert strict.redrawn == 4


def test_seconds_are_the_median_of_usable_answers(answered: Store) -> None:
    (row,) = status_of(answered).rounds
    assert row.seconds == 12.0  # of 4, 4, 20, 40, 50 and 2


def test_a_round_nobody_answered_has_no_seconds_and_no_model(tmp_path: Path) -> None:
    store = store_with(tmp_path, source=1, pool=3)
    add_model(store, 0)
    add_proposal(store, 1, store.catalogue.ids("pool")[:2])
    (row,) = status_of(store).rounds
    assert (row.proposed, row.answered, row.redrawn, row.compared) == (2, 0, 0, 0)
    assert (row.seconds, row.model) == (None, None)
    assert status_of(store).next == "Round 1: 2 of 2 images wait to be corrected in Label Studio."


def test_an_empty_store_has_a_status_too(tmp_path: Path) -> None:
    found = status_of(Store.open(tmp_path))
    assert found.model_dump() == {
        "store": str(tmp_path.resolve()),
        "images": {"source": 0, "pool": 0, "validation": 0},
        "validation": {"selection": 0, "test": 0, "near_duplicates": 0},
        "models": [],
        "decisions": [],
        "rounds": [],
        "effort": [],
        "anchoring": None,
        "next": "Ingest a source (clean images) and a pool (images to choose from): run the flow 'ingest'.",
    }


def test_models_are_listed_by_round_with_their_verdict(tmp_path: Path) -> None:
    store = store_with(tmp_path, source=1)
    add_model(store, 0)
    add_model(store, 1, promoted=False)
    first, second = status_of(store).models
    assert (first.round, first.promoted, second.round, second.promoted) == (0, True, 1, False)
    assert (first.side_px, first.epochs, first.validation_dice) == (32, 1, 0.5)
    assert len(first.id) == len(MANIFEST)


def test_two_people_are_there_where_two_are_asked_or_answered(answered: Store, tmp_path: Path) -> None:
    assert "two_people" not in status_of(answered).model_dump()
    rules = RoundsConfig(asked_twice=0.25)
    (asked,) = read_status(answered, rules).two_people
    assert (asked.round, asked.asked, asked.masked, asked.dice) == (1, 2, 0, None)
    ids = answered.catalogue.ids("pool")
    add_answers(answered, 1, ids[0:1], mask=square((34, 41), 8), origin="corrected", annotator="second@lab.org")
    (both,) = read_status(answered, rules).two_people
    assert both.masked == 1
    assert both.dice == pytest.approx(dice(MASK, square((34, 41), 8)), abs=1e-4)
    assert both.words.startswith("Round 1: 2 images asked of two people, 1 image masked by two;")
    assert [row.answered for row in read_status(answered, rules).rounds] == [
        row.answered for row in status_of(answered).rounds
    ]


def test_the_table_of_rounds_shows_first_what_matters_and_no_column_of_zeros(tmp_path: Path) -> None:
    store = store_with(tmp_path, source=1, pool=5)
    ids = store.catalogue.ids("pool")
    add_proposal(store, 1, ids[:3])
    add_answers(store, 1, ids[:1], status="skipped")
    columns = ["round", "answered", "strongly changed", "accepted", "corrected"]
    (row,) = rounds_table(read_status(store, RoundsConfig()).rounds)
    assert list(row) == [*columns, "skipped"]
    assert (row["answered"], row["skipped"]) == ("1/3", 1)
