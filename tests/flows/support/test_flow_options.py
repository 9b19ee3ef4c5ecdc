"""Names of runs: the round that is worked on, or why there is none."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from flows.support import flow_options
from flows.support.flow_options import recipe_or_active
from plankseg.config import Recipe, RoundsConfig
from plankseg.storage.store import Store
from tests.support.little_store import add_model, add_proposal, store_with
from tests.support.tiny_recipe import TINY

TWO_ROUNDS = TINY.model_copy(update={"rounds": RoundsConfig(budget=2)})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return store_with(tmp_path, source=1, pool=9)


def name_of(flow: str, store: Store, monkeypatch: pytest.MonkeyPatch, **parameters: object) -> str:
    run = SimpleNamespace(flow_name=flow, parameters=parameters)
    monkeypatch.setattr(flow_options, "runtime", SimpleNamespace(flow_run=run))
    monkeypatch.setattr(flow_options, "open_store", lambda: store)
    return flow_options.step_name()


def test_a_run_is_called_by_its_round_and_step(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    add_model(store, 0, recipe=TWO_ROUNDS)
    assert name_of("advance", store, monkeypatch) == "begin round 1 · advance"
    assert name_of("propose", store, monkeypatch) == "round 1 · propose"
    add_proposal(store, 1, store.catalogue.ids("pool")[:4])
    assert name_of("advance", store, monkeypatch) == "round 1 · advance"
    assert name_of("retrain", store, monkeypatch) == "round 1 · retrain"
    assert name_of("propose", store, monkeypatch, round_number=7) == "round 7 · propose"


def test_advance_without_a_round_says_why(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert name_of("advance", store, monkeypatch) == "no model yet · advance"
    for n in range(3):
        if n:
            add_proposal(store, n, store.catalogue.ids("pool")[3 * n : 3 * n + 3])
        add_model(store, n, recipe=TWO_ROUNDS)
    assert name_of("advance", store, monkeypatch) == "all rounds are done · advance"
    assert name_of("advance", store, monkeypatch, budget=3) == "begin round 3 · advance"
    four = TWO_ROUNDS.model_copy(update={"rounds": RoundsConfig(budget=4)})
    assert name_of("advance", store, monkeypatch, recipe=four) == "begin round 3 · advance"


def test_a_group_of_the_form_replaces_the_models_and_other_groups_stay(store: Store) -> None:
    add_model(store, 0, recipe=TWO_ROUNDS)
    rounds_alone = Recipe.model_validate({"rounds": {"budget": 7}})
    assert recipe_or_active(store, rounds_alone) == TWO_ROUNDS.model_copy(update={"rounds": RoundsConfig(budget=7)})
    assert recipe_or_active(store, None) == recipe_or_active(store, Recipe()) == TWO_ROUNDS
    whole = Recipe.model_validate(Recipe().model_dump())
    assert recipe_or_active(store, whole) == Recipe(), "a recipe that names every group counts whole"
