"""Decisions are kept in the order they were made in, whatever the clock says, and none is lost between two writers."""

from collections.abc import Sequence
from datetime import timedelta

import pytest

from plankseg.errors import StoreError
from plankseg.storage.store import Store
from plankseg.storage.tables.models import line_of
from plankseg.storage.tables.promotions import PromotionRow, Promotions
from tests.support.racing_processes import race
from tests.support.store_locations import tables_at
from tests.support.table_rows import START, model, sha


def decision(number: int, name: object, *, kind: str = "promote", after_round: int = 2) -> PromotionRow:
    return PromotionRow(
        model_id=sha(name),
        kind=kind,  # type: ignore[arg-type]
        by="person",
        reason="because",
        number=number,
        after_round=after_round,
        decided_at=START - timedelta(days=number),  # a clock that goes backwards
    )


def decide_next(root: str, name: str) -> int:
    def plan(there: Sequence[PromotionRow]) -> PromotionRow:
        return decision(len(there) + 1, name)

    row = Promotions(tables_at(root)).decide(plan)
    assert row is not None
    return row.number


def test_decisions_come_back_in_their_order_though_the_clock_went_backwards(root: str) -> None:
    promotions = Store.open(root).promotions
    assert promotions.all() == []
    for number, name in enumerate("abc", start=1):
        assert promotions.decide(lambda there, n=number, name=name: decision(n, name)) is not None
    assert [row.model_id for row in promotions.all()] == [sha(name) for name in "abc"]
    assert promotions.decide(lambda _: None) is None
    assert len(promotions.all()) == 3


@pytest.mark.slow
def test_of_two_writers_the_second_knows_of_the_first(root: str) -> None:
    numbers = race(decide_next, [(root, "a"), (root, "b"), (root, "c")])
    assert sorted(numbers) == [1, 2, 3]
    assert [row.number for row in Promotions(tables_at(root)).all()] == [1, 2, 3]


def test_the_line_of_models_is_a_stack_of_what_was_promoted() -> None:
    models = [model(sha(n), n, promoted=n != 2) for n in range(4)]
    names = {row.model_id: row.round for row in models}

    def line(*decisions: PromotionRow, of: int = 4) -> list[int]:
        return [names[row.model_id] for row in line_of(models[:of], decisions)]

    assert line(of=0) == []
    assert line(of=3) == [0, 1]
    assert line() == [0, 1, 3]
    back = decision(1, 0, kind="rollback", after_round=2)
    assert line(back, of=3) == [0]
    assert line(back) == [0, 3], "the model of round 3 was trained after the rollback"
    assert line(decision(1, 2, after_round=2), of=3) == [0, 1, 2], "a refused model can be put to work"
    assert line(decision(1, 0, after_round=3), decision(2, 3, kind="rollback", after_round=3)) == [0, 1, 3]


def test_a_decision_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(StoreError, match="kind is 'demote'"):
        decision(1, "a", kind="demote")
    with pytest.raises(StoreError, match="no sha256"):
        PromotionRow(model_id="3", kind="promote", by="flow", reason="", number=1, after_round=0)
