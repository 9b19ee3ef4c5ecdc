"""A candidate becomes model 0, by its name or its id, and the loop goes on from it with its recipe."""

from pathlib import Path

import pytest

from plankseg.config import Recipe, RoundsConfig
from plankseg.errors import ModelError
from plankseg.pipeline.loop.progress import due, read_progress
from plankseg.pipeline.models.recipes import recipe_in_force
from plankseg.pipeline.models.registry import activate, decisions_of, find_model, rollback
from plankseg.pipeline.reports.status import last_decision, read_status
from plankseg.storage.store import Store
from plankseg.storage.tables.models import ModelRow
from tests.support.little_store import add_model, store_with
from tests.support.tiny_recipe import TINY

KEY = "Unet frozen lr 3e-4 affine seed 1"


def add_candidate(store: Store, name: str, *, recipe: Recipe = TINY, experiment: str = "grid") -> ModelRow:
    row = ModelRow(
        model_id=store.models.put_weights(f"weights of {name} {experiment}".encode()),
        round=0,
        recipe=recipe.model_dump_json(),
        data_version=0,
        side_px=32,
        epochs=1,
        metrics="{}",
        promoted=False,
        reason="a candidate",
        experiment=experiment,
        candidate=name,
        fingerprint=f"fingerprint of {name} {experiment}",
    )
    assert store.models.commit(row)
    return row


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return store_with(tmp_path, source=1, pool=2)


@pytest.mark.parametrize("words", [KEY, KEY.upper(), "its id"])
def test_a_candidate_becomes_model_0_where_there_is_none(store: Store, words: str) -> None:
    frozen = TINY.model_copy(update={"network": TINY.network.model_copy(update={"freeze_encoder": True})})
    row = add_candidate(store, KEY, recipe=frozen)
    add_candidate(store, "another")
    assert due(read_progress(store), budget=2) == "pretrain"
    chosen, decided = activate(store, row.model_id[:8] if words == "its id" else words, reason="no ghosts")
    assert (chosen.model_id, chosen.round, decided) == (row.model_id, 0, True)
    assert store.models.of_round(0) == chosen
    assert store.models.active() == chosen
    assert recipe_in_force(store) == frozen
    assert due(read_progress(store), budget=2) == "propose"
    (decision,) = decisions_of(store)
    assert (decision.kind, decision.by, decision.reason) == (
        "promote",
        "person",
        f"no ghosts: {KEY}, experiment 'grid'",
    )
    assert [model.id for model in read_status(store, RoundsConfig(budget=2, redrawn_below=0.9)).models] == [
        row.model_id
    ]
    assert activate(store, "model 0", reason="again") == (chosen, False)
    assert activate(store, KEY, reason="again") == (chosen, False)


def test_a_candidate_takes_the_place_of_a_trained_model_0_and_can_be_taken_back(store: Store) -> None:
    zero = add_model(store, 0)
    row = add_candidate(store, KEY)
    assert activate(store, KEY, reason="no ghosts") == (row, True)
    assert store.models.active() == row
    assert store.models.of_round(0) == zero
    assert store.models.all() == [zero, row]
    status = read_status(store, RoundsConfig(budget=2, redrawn_below=0.9))
    assert [model.active for model in status.models] == [False, True]
    assert "no ghosts: Unet frozen" in last_decision(status)
    assert [decision.kind for decision in decisions_of(store)] == ["promote", "promote"]
    assert activate(store, KEY, reason="again") == (row, False)
    rollback(store, by="person", reason="it sees ghosts after all")
    assert store.models.active() == zero
    add_model(store, 1)
    active = store.models.active()
    assert active is not None
    assert active.round == 1


def test_a_name_that_two_experiments_have_is_not_clear_and_an_unknown_one_lists_candidates(store: Store) -> None:
    for experiment in ("grid", "seeds"):
        add_candidate(store, KEY, experiment=experiment)
    with pytest.raises(ModelError, match=r"2 models are meant by .*\(grid\), .*\(seeds\)"):
        find_model(store, KEY)
    with pytest.raises(ModelError, match=r"No model is called 'Unet'.*2 candidates, the last one 'Unet frozen"):
        find_model(store, "Unet")
