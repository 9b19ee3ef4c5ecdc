from math import hypot, pi, sqrt

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import array_shapes, arrays
from skimage.measure import regionprops

from plankseg.imaging.shape import ellipse_axes, expected_dice, feret_diameter, measure_shape, without_background

masks = arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=30))


def disc(radius: int) -> np.ndarray:
    drawn = cv2.circle(np.zeros((2 * radius + 9, 2 * radius + 9), np.uint8), (radius + 4, radius + 4), radius, 1, -1)
    return np.asarray(drawn > 0)


def test_a_disc_has_the_sizes_of_a_disc() -> None:
    found = measure_shape(disc(40))
    assert found.area_px == pytest.approx(pi * 40**2, rel=0.03)
    for length in (found.major_axis_px, found.minor_axis_px, found.esd_px, found.feret_px):
        assert length == pytest.approx(80, abs=2.5)
    assert found.perimeter_px == pytest.approx(2 * pi * 40, rel=0.05)
    assert (found.parts, found.touches_border, found.empty) == (1, False, False)


def test_a_ring_is_filled_for_its_filled_area_only() -> None:
    ring = disc(20)
    ring[20:29, 20:29] = False
    found = measure_shape(ring)
    assert (found.filled_area_px, found.area_px) == (int(disc(20).sum()), int(disc(20).sum()) - 81)


def test_one_pixel_is_one_pixel() -> None:
    mask = np.zeros((5, 5), bool)
    mask[2, 2] = True
    found = measure_shape(mask)
    assert (found.area_px, found.parts, found.touches_border) == (1, 1, False)
    assert found.feret_px == pytest.approx(sqrt(2))
    assert found.esd_px == pytest.approx(sqrt(4 / pi))


def test_an_empty_mask_has_no_lengths() -> None:
    found = measure_shape(np.zeros((4, 7), bool))
    assert found.empty
    assert (found.area_px, found.filled_area_px, found.parts, found.touches_border) == (0, 0, 0, False)
    assert {found.perimeter_px, found.major_axis_px, found.minor_axis_px, found.feret_px, found.esd_px} == {None}
    with pytest.raises(ValueError, match="no Feret diameter"):
        feret_diameter(np.zeros((4, 7), bool))


@pytest.mark.parametrize("edge", [(0, 3), (4, 3), (2, 0), (2, 6)])
def test_every_edge_is_a_border(edge: tuple[int, int]) -> None:
    mask = np.zeros((5, 7), bool)
    mask[edge] = True
    assert measure_shape(mask).touches_border


def test_corners_that_meet_are_one_part() -> None:
    mask = np.zeros((6, 6), bool)
    mask[1, 1] = mask[2, 2] = mask[4, 4] = True
    assert measure_shape(mask).parts == 2


@settings(max_examples=60, deadline=None)
@given(masks)
def test_the_feret_diameter_is_the_largest_distance_of_any_two_pixel_corners(mask: np.ndarray) -> None:
    if not mask.any():
        return
    corners = {(r + a, c + b) for r, c in np.argwhere(mask).tolist() for a in (0, 1) for b in (0, 1)}
    far = max(hypot(r - s, c - d) for r, c in corners for s, d in corners)
    assert feret_diameter(mask) == pytest.approx(far)


@pytest.mark.parametrize("axes", [(30, 30), (40, 8), (25, 3)])
def test_the_feret_diameter_of_a_whole_object_is_within_one_pixel_of_skimages(axes: tuple[int, int]) -> None:
    drawn = cv2.ellipse(np.zeros((100, 100), np.uint8), (50, 48), axes, 35, 0, 360, 1, -1)
    theirs = float(regionprops(drawn)[0].feret_diameter_max)
    assert feret_diameter(drawn > 0) == pytest.approx(theirs, abs=1)


@settings(max_examples=40, deadline=None)
@given(masks)
def test_the_axes_are_skimages_and_to_the_last_bit_the_same_however_the_object_lies(mask: np.ndarray) -> None:
    if not mask.any():
        return
    region = regionprops(mask.astype(np.uint8))[0]
    axes = ellipse_axes(mask)
    assert axes == pytest.approx((region.axis_major_length, region.axis_minor_length), rel=1e-9, abs=1e-6)
    moved = np.pad(mask, ((3, 0), (0, 5)))
    assert {ellipse_axes(other) for other in (mask[::-1], mask[:, ::-1], mask.T.copy(), moved)} == {axes}


@settings(max_examples=40, deadline=None)
@given(masks)
def test_measures_do_not_depend_on_how_the_object_lies(mask: np.ndarray) -> None:
    one = measure_shape(mask)
    for turned in (mask[::-1], mask[:, ::-1], mask.T, np.rot90(mask)):
        other = measure_shape(np.ascontiguousarray(turned))
        assert (other.area_px, other.filled_area_px, other.parts) == (one.area_px, one.filled_area_px, one.parts)
        assert other.touches_border == one.touches_border
        assert other.feret_px == pytest.approx(one.feret_px)
        assert other.major_axis_px == pytest.approx(one.major_axis_px, abs=1e-6)


def test_expected_dice_is_one_where_the_model_is_certain_and_lower_where_it_doubts() -> None:
    mask = disc(10)
    assert expected_dice(mask, mask.astype(np.float32)) == 1.0
    doubtful = np.where(mask, 0.6, 0.1).astype(np.float32)
    area, rest = mask.sum(), (~mask).sum()
    assert expected_dice(mask, doubtful) == pytest.approx(2 * 0.6 * area / (area + 0.6 * area + 0.1 * rest), rel=1e-5)
    assert expected_dice(np.zeros_like(mask), doubtful) is None


def test_what_lies_outside_the_mask_becomes_white() -> None:
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    mask = np.zeros((3, 4), bool)
    mask[1, 2] = True
    cut = without_background(grey, mask)
    assert cut[1, 2] == 6
    assert (cut == 255).sum() == 11
    assert np.array_equal(without_background(grey, np.zeros((3, 4), bool)), grey)
