"""A person can put any model to work and go back, and everything that was decided can be read with its reason."""

import json
from pathlib import Path

import pytest

from plankseg.config import RoundsConfig
from plankseg.errors import ModelError
from plankseg.pipeline.models.registry import PairedComparison, decisions_of, find_model, promote, rollback
from plankseg.pipeline.reports.status import last_decision, read_status
from plankseg.storage.store import Store
from tests.support.little_store import add_model, store_with


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Three models, the last one refused."""
    store = store_with(tmp_path)
    for n in range(3):
        add_model(store, n, promoted=n < 2)
    return store


def at_work(store: Store) -> int:
    active = store.models.active()
    assert active is not None
    return active.round


def test_a_store_without_a_decision_of_a_person_has_its_last_promoted_model_at_work(store: Store) -> None:
    assert not (store.root / "tables" / "promotions").exists()
    assert at_work(store) == 1
    assert [(decision.model.round, decision.kind, decision.by) for decision in decisions_of(store)] == [
        (0, "promote", "flow"),
        (1, "promote", "flow"),
        (2, "refuse", "flow"),
    ]


def test_a_refused_model_can_be_put_to_work_and_taken_back_again(store: Store) -> None:
    row = promote(store, find_model(store, "model 2").model_id, by="person", reason="it looks better to me")
    assert row is not None
    assert (at_work(store), row.previous) == (2, find_model(store, "1").model_id)
    assert promote(store, row.model_id, by="person", reason="again") is None
    back = rollback(store, by="person", reason="it did not")
    assert (at_work(store), back.model_id, back.previous) == (1, row.previous, row.model_id)
    rollback(store, by="person", reason="further")
    assert at_work(store) == 0
    with pytest.raises(ModelError, match=r"model 0 is the only one.*plankseg promote"):
        rollback(store, by="person", reason="further still")
    assert [decision.kind for decision in decisions_of(store)] == [
        "promote",
        "promote",
        "refuse",
        "promote",
        "rollback",
        "rollback",
    ]


def test_what_is_trained_after_a_rollback_starts_from_the_model_that_is_back(store: Store) -> None:
    rollback(store, by="person", reason="model 1 sees ghosts")
    add_model(store, 3)
    assert at_work(store) == 3
    rollback(store, by="person", reason="and so does model 3")
    assert at_work(store) == 0


def test_the_status_shows_who_decided_and_why_with_the_interval(store: Store) -> None:
    promote(
        store,
        find_model(store, "2").model_id,
        by="flow",
        reason="best of 12",
        comparison=PairedComparison(0.02, 0.01, 0.03),
    )
    found = read_status(store, RoundsConfig(budget=2, redrawn_below=0.95))
    assert [model.active for model in found.models] == [False, False, True]
    last = json.loads(found.model_dump_json())["decisions"][-1]
    assert (last["round"], last["kind"], last["by"], last["reason"]) == (2, "promote", "flow", "best of 12")
    assert (last["difference"], last["low"], last["high"]) == (0.02, 0.01, 0.03)
    sentence = last_decision(found)
    assert sentence.startswith("Model 2 (")
    assert sentence.endswith("is in use. Last decision: model 2 put into use automatically: best of 12.")


def test_a_model_is_found_by_its_round_or_the_beginning_of_its_id(store: Store) -> None:
    row = store.models.all()[1]
    for words in ("1", "model 1", "Round  1", row.model_id, row.model_id[:8]):
        assert find_model(store, words) == row


@pytest.mark.parametrize("words", ["7", "model seven", "abcdef", "", "0" * 64])
def test_a_model_that_is_none_is_answered_with_what_there_is(store: Store, words: str) -> None:
    with pytest.raises(ModelError, match=r"No model is called .*There are 0 \(\w{8}\), 1 \(\w{8}\), 2 \("):
        find_model(store, words)


def test_in_a_store_without_models_the_next_step_is_named(tmp_path: Path) -> None:
    store = store_with(tmp_path)
    with pytest.raises(ModelError, match="'pretrain'"):
        find_model(store, "1")
    with pytest.raises(ModelError, match="no model is in use"):
        rollback(store, by="person", reason="none")
