"""A round is proposed once, and everything a person was asked about is known."""

import pytest

from plankseg.errors import StoreError
from plankseg.storage.tables.proposals import Proposals
from tests.support.racing_processes import race
from tests.support.store_locations import tables_at
from tests.support.table_rows import proposed, sha


@pytest.fixture
def proposals(root: str) -> Proposals:
    return Proposals(tables_at(root))


def test_a_round_is_proposed_once(proposals: Proposals) -> None:
    rows = [proposed("a", uncertainty=0.25, batch=3), proposed("b", premask_sha=sha("premask"))]
    assert proposals.commit(1, rows)
    assert not proposals.commit(1, [proposed("c")])
    assert proposals.of_round(1) == sorted(rows, key=lambda row: row.image_id)


def test_chosen_controls_and_lookers_on_are_told_apart(proposals: Proposals) -> None:
    chosen, control = proposed("a"), proposed("b", chosen=False, control=True)
    proposals.commit(1, [chosen, control, proposed("c", chosen=False)])
    proposals.commit(3, [proposed("d", 3)])
    assert proposals.chosen(1) == [chosen]
    assert proposals.proposed_ids() == {sha("a"), sha("b"), sha("d")}
    assert proposals.rounds() == [1, 3]


def test_before_the_first_round_nothing_is_proposed(proposals: Proposals) -> None:
    assert (proposals.rounds(), proposals.of_round(1), proposals.proposed_ids()) == ([], [], set())


def test_a_muddled_proposal_is_refused(proposals: Proposals) -> None:
    with pytest.raises(StoreError, match="rounds \\[1, 2\\]"):
        proposals.commit(1, [proposed("a"), proposed("b", 2)])
    with pytest.raises(StoreError, match="rounds \\[\\]"):
        proposals.commit(1, [])
    with pytest.raises(StoreError, match="an image twice"):
        proposals.commit(1, [proposed("a"), proposed("a")])
    assert proposals.rounds() == []


def propose(root: str, seed: int) -> bool:
    return Proposals(tables_at(root)).commit(1, [proposed(f"{seed}-{i}", seed=seed) for i in range(20)])


@pytest.mark.every_s3_server
def test_two_proposals_at_once_give_one_winner(root: str) -> None:
    won = race(propose, [(root, seed) for seed in range(3)])
    assert sorted(won) == [False, False, True]
    rows = Proposals(tables_at(root)).of_round(1)
    assert len(rows) == 20
    assert len({row.seed for row in rows}) == 1
