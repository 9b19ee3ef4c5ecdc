"""Stratified draws: every mask equally often, doubtful and certain ones in their shares."""

import numpy as np
import pytest

from plankseg.errors import EmptyPoolError
from plankseg.pipeline.audit.sample import draw_by_confidence


def test_each_slice_of_equally_many_masks_gives_one() -> None:
    confidences = np.random.default_rng(0).permutation(1000) / 1000
    drawn = draw_by_confidence(list(confidences), 50, np.random.default_rng(1))
    assert [int(confidences[position] * 50) for position in drawn] == list(range(50))


def test_every_mask_is_drawn_equally_often_whatever_the_numbers() -> None:
    counts = np.zeros(7)
    for seed in range(7000):
        np.add.at(counts, draw_by_confidence([0.5] * 7, 5, np.random.default_rng(seed)), 1)  # some are there twice
    assert counts / 7000 == pytest.approx(np.full(7, 5 / 7), abs=0.03)


def test_of_too_few_masks_each_is_drawn_once() -> None:
    assert sorted(draw_by_confidence([0.3, 0.1, 0.2], 5, np.random.default_rng(0))) == [0, 1, 2]
    with pytest.raises(EmptyPoolError, match="run the flow 'segment' first"):
        draw_by_confidence([], 5, np.random.default_rng(0))
