"""Outlines along pixel edges give the mask again, by this reader and by somebody else's."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from plankseg.formats.outlines import filled, outlines_of
from tests.support.mask_records import by_matplotlib

masks = arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9)))


def rings_of(mask: np.ndarray) -> list[np.ndarray]:
    return [ring for outline in outlines_of(mask) for ring in (outline.outer, *outline.holes)]


@settings(deadline=None)
@given(masks)
def test_the_rings_give_the_mask_again_and_a_part_has_one_outer_ring(mask: np.ndarray) -> None:
    rings = rings_of(mask)
    assert np.array_equal(filled(rings, mask.shape), mask)
    assert np.array_equal(by_matplotlib(rings, mask.shape), mask)
    assert len(outlines_of(mask)) == cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)[0] - 1


def test_a_ring_with_a_hole_and_a_speck_in_it() -> None:
    mask = np.zeros((7, 8), dtype=bool)
    mask[1:6, 1:6] = True
    mask[2:5, 2:5] = False
    mask[3, 3] = True
    first, speck = outlines_of(mask)
    assert first.outer.tolist() == [[1, 1], [6, 1], [6, 6], [1, 6]]
    assert [sorted(hole.tolist()) for hole in first.holes] == [[[2, 2], [2, 5], [5, 2], [5, 5]]]
    assert (speck.outer.tolist(), speck.holes) == ([[3, 3], [4, 3], [4, 4], [3, 4]], ())


@pytest.mark.parametrize("shape", [(1, 1), (3, 4)])
def test_empty_and_full_masks(shape: tuple[int, int]) -> None:
    assert outlines_of(np.zeros(shape, dtype=bool)) == []
    ((outline),) = outlines_of(np.ones(shape, dtype=bool))
    assert outline.outer.tolist() == [[0, 0], [shape[1], 0], [shape[1], shape[0]], [0, shape[0]]]
