"""Refinement of an outline: the grey decides close to it, and nothing changes where the image says nothing."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from plankseg.imaging.mask_metrics import boundary_f
from plankseg.imaging.outline_refinement import refine_outline

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=24)
MASKS = hnp.arrays(bool, SHAPES)


def disc(radius: int, *, size: int = 60) -> np.ndarray:
    plane = np.zeros((size, size), np.uint8)
    cv2.circle(plane, (size // 2, size // 2), radius, 1, -1)
    return plane.astype(bool)


def drawn(mask: np.ndarray, *, inside: int, outside: int) -> np.ndarray:
    return np.where(mask, inside, outside).astype(np.uint8)


@pytest.mark.parametrize(("inside", "outside"), [(90, 230), (240, 20), (150, 170)])
@pytest.mark.parametrize("radius", [15, 18, 22])
def test_an_outline_some_pixels_off_comes_to_lie_on_the_edge(inside: int, outside: int, radius: int) -> None:
    truth = disc(18)
    refined = refine_outline(disc(radius), drawn(truth, inside=inside, outside=outside), reach_px=6, share=0.4)
    assert np.array_equal(refined, truth)


def test_the_share_says_where_in_a_blurred_edge_the_outline_is_drawn() -> None:
    blurred = cv2.GaussianBlur(drawn(disc(18), inside=50, outside=250), (0, 0), 3)
    areas = [refine_outline(disc(18), blurred, reach_px=6, share=share).sum() for share in (0.2, 0.5, 0.8)]
    assert areas == sorted(areas, reverse=True)
    assert areas[0] > areas[2]


def test_nothing_changes_where_inside_and_outside_are_alike_or_the_part_is_thin() -> None:
    flat = np.full((60, 60), 200, np.uint8)
    assert np.array_equal(refine_outline(disc(10), flat, reach_px=4, share=0.25), disc(10))
    hair = np.zeros((60, 60), bool)
    hair[30, 5:55] = True
    shifted = np.roll(hair, 1, axis=0)
    assert np.array_equal(refine_outline(hair, drawn(shifted, inside=60, outside=240), reach_px=3, share=0.25), hair)


def test_the_neighbour_beyond_the_reach_does_not_join() -> None:
    both = disc(10) | np.roll(disc(6), 22, axis=1)
    refined = refine_outline(disc(9), drawn(both, inside=80, outside=240), reach_px=3, share=0.25)
    assert boundary_f(refined, disc(10)) == 1.0


@given(MASKS, st.integers(1, 8), st.sampled_from([0.25, 0.5]), st.integers(0, 2**32 - 1))
def test_only_pixels_within_the_reach_change_whatever_the_image(
    mask: np.ndarray, reach: int, share: float, seed: int
) -> None:
    grey = np.random.default_rng(seed).integers(0, 256, mask.shape, dtype=np.uint8)
    refined = refine_outline(mask, grey, reach_px=reach, share=share)
    assert refined.shape == mask.shape
    assert refined.dtype == bool
    changed = refined != mask
    if changed.any():
        other = cv2.distanceTransform(np.pad(mask, 1, mode="edge").astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
        own = cv2.distanceTransform(np.pad(~mask, 1, mode="edge").astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
        assert np.maximum(own, other)[changed].max() <= reach + 1.5
