"""What a recipe says of the person's work reaches the steps that ask the person."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import flows.advance
import flows.propose
from flows.support import artifacts
from plankseg.config import Recipe, RoundsConfig
from plankseg.storage.store import Store
from tests.support.little_store import add_answers, add_model, add_proposal, store_with
from tests.support.tiny_recipe import TINY

TWICE: Recipe = TINY.model_copy(update={"rounds": RoundsConfig(asked_twice=0.5)})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A model in use whose recipe asks half of a round of two people, and an open round of four images."""
    store = store_with(tmp_path, source=1, pool=5)
    add_model(store, 0, recipe=TWICE)
    add_proposal(store, 1, store.catalogue.ids("pool")[:4])
    return store


def test_the_share_that_two_people_are_asked_reaches_every_push_of_an_open_round(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed: list[tuple[int, float]] = []
    monkeypatch.setattr(flows.advance, "collect", lambda: None)
    monkeypatch.setattr(flows.advance, "push", lambda *given: pushed.append(given))
    assert "Label Studio" in flows.advance.do_what_is_due(store, None, None)
    once = TINY.model_copy(update={"rounds": RoundsConfig()})
    flows.advance.do_what_is_due(store, once, None)
    assert pushed == [(1, 0.5), (1, 0.0)]


def test_a_new_round_is_pushed_with_the_share_of_its_recipe(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    pushed: list[tuple[int, float]] = []
    monkeypatch.setattr(flows.propose, "open_store", lambda: store)
    monkeypatch.setattr(flows.propose, "choose", lambda *_: None)
    monkeypatch.setattr(flows.propose, "push", lambda *given: pushed.append(given))
    assert flows.propose.propose.fn() == 1
    assert pushed == [(1, 0.5)]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda _: None, []),
        (lambda store: add_proposal(store, 2, store.catalogue.ids("pool")[4:5]), ["rounds"]),
        (lambda store: add_answers(store, 1, store.catalogue.ids("pool")[:2]), ["rounds", "effort"]),
    ],
)
def test_rounds_are_shown_when_one_begins_and_effort_when_answers_arrived(
    store: Store, monkeypatch: pytest.MonkeyPatch, change: Callable[[Store], object], expected: list[str]
) -> None:
    shown: list[str] = []
    monkeypatch.setattr(flows.advance, "show_rounds", lambda _: shown.append("rounds"))
    monkeypatch.setattr(flows.advance, "show_effort", lambda _: shown.append("effort"))
    with flows.advance.show_changes(store):
        change(store)
    assert shown == expected


def test_what_must_be_known_of_the_answers_stands_above_their_effort(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_answers(store, 1, store.catalogue.ids("pool")[:2], mask=np.ones((8, 8), dtype=bool))
    shown: list[str] = []
    monkeypatch.setattr(artifacts, "create_markdown_artifact", lambda **given: shown.append(given["markdown"]))
    artifacts.show_effort(store)
    before = artifacts.ABOUT_ANSWERS.set("Seconds are assumed.")
    artifacts.show_effort(store)
    artifacts.ABOUT_ANSWERS.reset(before)
    assert "assumed" not in shown[0]
    assert shown[1].index("Seconds are assumed.") < shown[1].index("| round |")
