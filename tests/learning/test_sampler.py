"""Weighted draws that depend on seed and epoch alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plankseg.learning.process_rank import SINGLE_PROCESS, ProcessRank
from plankseg.learning.sampler import Draw, SideBatches, WeightedDraws

pytestmark = pytest.mark.slow


def test_share_of_corrections_follows_the_weights():
    weights = [1.0] * 300 + [10.0] * 20
    drawn = WeightedDraws(weights, draws=20_000, seed=3).indices(0)
    assert np.mean(drawn >= 300) == pytest.approx(200 / 500, abs=0.012)  # 3.5 standard deviations
    counts = np.bincount(drawn[drawn >= 300] - 300)
    assert counts.min() > 0.7 * counts.mean()


def test_epochs_and_seeds_draw_different_streams_and_the_same_again():
    def stream(seed: int, epoch: int) -> list:
        draws = WeightedDraws([1.0] * 50, draws=40, seed=seed)
        draws.set_epoch(epoch)
        return list(draws)

    assert stream(1, 0) == stream(1, 0)
    assert stream(1, 0) != stream(1, 1)
    assert stream(1, 0) != stream(2, 0)


def test_no_two_items_of_several_epochs_share_an_augmentation_seed():
    draws = WeightedDraws([1.0] * 10, draws=200, seed=0)
    seeds = []
    for epoch in range(5):
        draws.set_epoch(epoch)
        seeds += [draw.augmentation_seed for draw in draws]
    assert len(set(seeds)) == 1000


@given(first=st.integers(0, 50), later=st.integers(0, 50))
def test_a_resumed_training_draws_what_it_would_have_drawn(first, later):
    whole = WeightedDraws([1.0, 10.0, 2.0], draws=8, seed=4)
    whole.set_epoch(first + later)
    resumed = WeightedDraws([1.0, 10.0, 2.0], draws=8, seed=4, first_epoch=first)
    resumed.set_epoch(later)
    assert list(resumed) == list(whole)
    assert [draw.index for draw in resumed] == whole.indices(first + later).tolist()


@pytest.mark.parametrize("weights", [[], [1.0, 0.0], [1.0, float("nan")]])
def test_weights_that_cannot_be_drawn_by_are_refused(weights):
    with pytest.raises(ValueError, match="positive"):
        WeightedDraws(weights, draws=2, seed=0)


SIDES_OF_IMAGES = [64, 64, 96, 128, 96, 64]


def batches_of(process: ProcessRank = SINGLE_PROCESS, *, size: int = 4, epoch: int = 0) -> list[list[Draw]]:
    draws = WeightedDraws([1.0] * 6, draws=50, seed=2)
    draws.set_epoch(epoch)
    return list(SideBatches(draws, SIDES_OF_IMAGES, size=size, process=process))


def test_a_batch_has_one_side_and_next_to_nothing_is_left_out():
    batches = batches_of()
    for batch in batches:
        assert len({SIDES_OF_IMAGES[draw.index] for draw in batch}) == 1
        assert 2 <= len(batch) <= 4
    drawn = [draw for batch in batches for draw in batch]
    whole = WeightedDraws([1.0] * 6, draws=50, seed=2)
    assert set(drawn) <= set(whole)
    assert len(drawn) >= 50 - 3  # at most a single image of each side
    assert batches == batches_of() != batches_of(epoch=1)


@pytest.mark.parametrize("world_size", [2, 3])
def test_several_processes_have_steps_of_one_side_and_share_out_each_batch(world_size: int):
    shares = [batches_of(ProcessRank(rank, world_size, 1), size=3) for rank in range(world_size)]
    assert len({len(batches) for batches in shares}) == 1
    for step in zip(*shares, strict=True):
        assert len({SIDES_OF_IMAGES[draw.index] for batch in step for draw in batch}) == 1
        assert len({len(batch) for batch in step}) == 1
        assert len(step[0]) >= 2
    seen = [draw for batches in shares for batch in batches for draw in batch]
    assert len(set(seen)) == len(seen)
