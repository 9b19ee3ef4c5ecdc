"""The sheet of compositions: a row each, the same images, outlines on them."""

import numpy as np
import pytest

from plankseg.imaging.pictures.overlay import PRE_MASK
from plankseg.learning.augmentation.compositions import COMPOSITIONS
from plankseg.learning.augmentation.contact_sheet import contact_sheet

pytestmark = pytest.mark.slow

SIDE = 32


def two_squares() -> tuple[np.ndarray, np.ndarray]:
    masks = np.zeros((2, SIDE, SIDE), dtype=bool)
    masks[0, 8:20, 10:18] = masks[1, 5:25, 14:20] = True
    return np.where(masks, 40, 235).astype(np.uint8), masks


def test_every_composition_has_a_row_and_the_last_one_only_with_references():
    squares, masks = two_squares()
    references = np.full((1, SIDE, SIDE), 180, np.uint8)
    whole = contact_sheet(squares, masks, references=references, draws=3)
    without = contact_sheet(squares, masks, references=None, draws=3)
    height = whole.shape[0] // (len(COMPOSITIONS) + 1)
    assert without.shape == (whole.shape[0] - height, whole.shape[1], 3)
    np.testing.assert_array_equal(whole[: without.shape[0]], without)
    for row in range(len(COMPOSITIONS) + 1):
        assert (whole[row * height : (row + 1) * height] == PRE_MASK).all(axis=2).any()


def test_the_same_seed_gives_the_same_sheet():
    squares, masks = two_squares()
    first, again, other = (contact_sheet(squares, masks, references=None, draws=2, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
