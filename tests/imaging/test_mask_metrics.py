"""Outlines, thin parts and areas of two masks: by hand on small drawings, and against slow ways to the same figure."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from scipy.spatial.distance import cdist
from skimage.morphology import skeletonize
from skimage.segmentation import find_boundaries

from plankseg.errors import MaskShapeError
from plankseg.imaging.mask_metrics import (
    area_error,
    boundary_f,
    dice_off_outline,
    outline_pixels,
    thin_part_recall,
    thin_skeleton,
)

PAIRS = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=24).flatmap(
    lambda shape: st.tuples(hnp.arrays(bool, shape), hnp.arrays(bool, shape))
)
EMPTY = np.zeros((4, 4), bool)
FULL = ~EMPTY


def drawn(*rows: str) -> np.ndarray:
    return np.array([[letter == "#" for letter in row] for row in rows])


DOT = drawn("....", ".#..", "....", "....")


def block(left: int, size: int = 8, side: int = 20) -> np.ndarray:
    mask = np.zeros((side, side), bool)
    mask[6 : 6 + size, left : left + size] = True
    return mask


# --- outlines --------------------------------------------------------------------------------------------------------


def test_the_outline_of_a_block_is_its_rim_and_a_full_image_has_one_along_its_border() -> None:
    rim = drawn("####", "#..#", "#..#", "####")
    assert np.array_equal(outline_pixels(FULL), rim)
    assert np.array_equal(outline_pixels(DOT), DOT)
    assert not outline_pixels(EMPTY).any()


@given(PAIRS)
def test_the_outline_is_that_of_scikit_image_in_an_image_with_a_margin(pair: tuple[np.ndarray, np.ndarray]) -> None:
    theirs = find_boundaries(np.pad(pair[0], 1), connectivity=1, mode="inner", background=0)[1:-1, 1:-1]
    assert np.array_equal(outline_pixels(pair[0]), theirs)


@given(PAIRS, st.sampled_from([0.0, 1.0, 1.5, 2.0]))
def test_boundary_f_is_what_all_pairs_of_outline_pixels_give(
    pair: tuple[np.ndarray, np.ndarray], tolerance_px: float
) -> None:
    a, b = (np.argwhere(outline_pixels(mask)) for mask in pair)
    if not len(a) or not len(b):
        expected = float(len(a) == len(b))
    else:
        near = cdist(a, b) <= tolerance_px + 1e-9
        precision, recall = near.any(axis=1).mean(), near.any(axis=0).mean()
        expected = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    assert boundary_f(*pair, tolerance_px=tolerance_px) == pytest.approx(expected)
    assert boundary_f(*pair[::-1], tolerance_px=tolerance_px) == pytest.approx(expected), (
        "it does not matter which is which"
    )


def test_an_outline_two_pixels_off_is_right_and_one_far_away_is_not() -> None:
    assert boundary_f(block(4), block(6)) == 1.0
    assert boundary_f(block(0), block(12)) == 0.0
    moved = boundary_f(block(4), block(7))
    assert 0 < moved < 1
    assert boundary_f(block(4), block(7), tolerance_px=3.0) == 1.0


@pytest.mark.parametrize(
    ("predicted", "truth", "expected"),
    [
        (EMPTY, EMPTY, (1.0, None, 0.0)),
        (DOT, EMPTY, (0.0, None, None)),
        (EMPTY, DOT, (0.0, None, -1.0)),
        (FULL, FULL, (1.0, None, 0.0)),
        (FULL, DOT, (pytest.approx(2 * 7 / 12 / (7 / 12 + 1)), None, 15.0)),
    ],
)
def test_empty_and_full_masks_have_defined_measures(
    predicted: np.ndarray, truth: np.ndarray, expected: tuple[float, ...]
) -> None:
    found = (boundary_f(predicted, truth), thin_part_recall(predicted, truth), area_error(predicted, truth))
    assert found == expected


# --- thin parts ------------------------------------------------------------------------------------------------------


def with_antenna(width: int, length: int = 10) -> np.ndarray:
    """A body of 9 x 9 with an antenna of a width."""
    mask = np.zeros((24, 24), bool)
    mask[12:21, 8:17] = True
    mask[12 - length : 12, 12 : 12 + width] = True
    return mask


@pytest.mark.parametrize("width", [1, 2])
def test_an_antenna_is_a_thin_part_and_the_body_is_none(width: int) -> None:
    truth = with_antenna(width)
    body = with_antenna(width, length=0)
    assert not thin_skeleton(body).any()
    rows = np.argwhere(thin_skeleton(truth))[:, 0]
    assert 8 <= len(rows) <= 10
    assert rows.max() < 12
    assert thin_part_recall(truth, truth) == 1.0
    assert thin_part_recall(body, truth) == 0.0
    half = truth.copy()
    half[:7] = False
    assert thin_part_recall(half, truth) == pytest.approx(0.5, abs=0.06)


def test_an_antenna_of_three_pixels_and_a_bump_are_no_thin_parts() -> None:
    for mask in (with_antenna(3), with_antenna(1, length=2)):
        assert thin_part_recall(mask, mask) is None


@given(PAIRS)
def test_thin_is_what_scipy_s_opening_takes_away(pair: tuple[np.ndarray, np.ndarray]) -> None:
    predicted, truth = pair
    opened = ndimage.binary_opening(np.pad(truth, 3), structure=np.ones((3, 3)))[3:-3, 3:-3]
    thin = skeletonize(truth) & ~opened
    pieces, count = ndimage.label(thin, structure=np.ones((3, 3)))
    sizes = ndimage.sum_labels(thin, pieces, index=np.arange(count + 1))
    thin &= np.isin(pieces, np.flatnonzero(sizes >= 3))
    assert np.array_equal(thin_skeleton(truth), thin)
    expected = (thin & predicted).sum() / thin.sum() if thin.any() else None
    assert thin_part_recall(predicted, truth) == (None if expected is None else pytest.approx(expected))


# --- area ------------------------------------------------------------------------------------------------------------


@given(PAIRS)
def test_the_area_error_has_its_sign_and_is_relative_to_the_truth(pair: tuple[np.ndarray, np.ndarray]) -> None:
    ours, theirs = int(pair[0].sum()), int(pair[1].sum())
    if theirs:
        assert area_error(*pair) == pytest.approx(ours / theirs - 1)
    else:
        assert area_error(*pair) == (None if ours else 0.0)


def test_masks_of_two_sizes_are_not_compared() -> None:
    for compare in (boundary_f, thin_part_recall, area_error):
        with pytest.raises(MaskShapeError, match="4 x 4 and 4 x 3"):
            compare(EMPTY, EMPTY[:, :3])


@given(PAIRS)
def test_dice_off_the_outline_counts_only_pixels_more_than_two_from_the_other_side(pair) -> None:
    predicted, truth = pair
    rows = np.argwhere(np.ones_like(truth))
    inside, outside = np.argwhere(truth), np.argwhere(~truth)
    counted = np.ones(truth.shape, bool)
    for row in rows:
        others = outside if truth[tuple(row)] else inside
        counted[tuple(row)] = not len(others) or cdist([row], others).min() > 2
    ours, theirs = predicted & counted, truth & counted
    expected = 2 * (ours & theirs).sum() / (ours.sum() + theirs.sum()) if ours.any() or theirs.any() else 1.0
    assert dice_off_outline(predicted, truth) == pytest.approx(expected)


def test_an_outline_two_pixels_off_costs_nothing_and_a_hole_in_the_middle_does() -> None:
    truth = block(4, size=12)
    assert dice_off_outline(ndimage.binary_dilation(truth, iterations=2), truth) == 1.0
    assert dice_off_outline(ndimage.binary_erosion(truth, iterations=2), truth) == 1.0
    hollow = truth.copy()
    hollow[9:11, 9:11] = False
    assert dice_off_outline(hollow, truth) < 1.0
    with pytest.raises(MaskShapeError):
        dice_off_outline(EMPTY, truth)
