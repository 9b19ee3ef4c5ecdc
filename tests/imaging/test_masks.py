"""Masks survive their file, have one name, and are compared as a person would compare them."""

import io
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from scipy import ndimage

from plankseg.errors import ImageReadError, ImageTooLargeError, MaskShapeError
from plankseg.imaging.masks import (
    changed_pixels,
    decode_mask,
    dice,
    drop_small_parts,
    encode_mask,
    fill_holes,
    iou,
    largest_component,
    pixel_sha,
)

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=70)
MASKS = hnp.arrays(bool, SHAPES)
ODD_SIZES = [(11, 29), (1285, 134), (70, 600), (1, 1), (7, 8), (8, 7)]


def drawn(*rows: str) -> np.ndarray:
    return np.array([[letter == "#" for letter in row] for row in rows])


def as_png(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind)
    return out.getvalue()


@given(MASKS)
def test_a_mask_comes_back_from_its_png(mask: np.ndarray) -> None:
    assert np.array_equal(decode_mask(encode_mask(mask), shape=mask.shape), mask)


@pytest.mark.parametrize("shape", ODD_SIZES)
def test_random_masks_of_odd_sizes_come_back(shape: tuple[int, int]) -> None:
    mask = np.random.default_rng(0).random(shape) < 0.5
    assert np.array_equal(decode_mask(encode_mask(mask)), mask)


@pytest.mark.parametrize("turned", [lambda m: m[::-1], lambda m: m.T, lambda m: m[::2, 1::3]])
def test_a_view_of_a_mask_comes_back_as_it_is_seen(turned) -> None:
    mask = turned(np.random.default_rng(1).random((40, 61)) < 0.3)
    assert np.array_equal(decode_mask(encode_mask(mask)), mask)
    assert pixel_sha(mask) == pixel_sha(mask.copy())


def test_a_mask_is_kept_in_one_bit_per_pixel() -> None:
    image = Image.open(io.BytesIO(encode_mask(drawn("#.", ".#"))))
    assert (image.mode, image.format) == ("1", "PNG")
    assert image.getpixel((0, 0)) == 255


@pytest.mark.parametrize("high", [1, 255])
def test_masks_of_other_tools_are_understood(high: int) -> None:
    mask = drawn("#..", ".##")
    assert np.array_equal(decode_mask(as_png(mask.astype(np.uint8) * np.uint8(high))), mask)
    assert np.array_equal(decode_mask(as_png(np.repeat(mask[:, :, None], 3, 2).astype(np.uint8) * np.uint8(255))), mask)


def test_grey_values_between_are_not_guessed() -> None:
    with pytest.raises(ImageReadError, match=re.escape("[0, 128, 255]")):
        decode_mask(as_png(np.array([[0, 128, 255]], dtype=np.uint8)))
    with pytest.raises(ImageReadError, match="JPEG"):
        decode_mask(as_png(np.zeros((8, 8), dtype=np.uint8), "JPEG"))


def test_a_mask_of_another_size_names_both_sizes() -> None:
    with pytest.raises(MaskShapeError, match=r"2 x 3 .* 3 x 2"):
        decode_mask(encode_mask(drawn("#..", ".##")), shape=(3, 2))


def test_broken_and_huge_masks_are_refused() -> None:
    with pytest.raises(ImageReadError):
        decode_mask(b"")
    with pytest.raises(ImageTooLargeError):
        decode_mask(encode_mask(np.zeros((11, 10), dtype=bool)), max_pixels=100)


@given(MASKS, st.data())
def test_the_name_follows_the_pixels(mask: np.ndarray, data: st.DataObject) -> None:
    assert pixel_sha(mask) == pixel_sha(decode_mask(encode_mask(mask)))
    other = mask.copy()
    row, column = (data.draw(st.integers(0, size - 1)) for size in mask.shape)
    other[row, column] ^= True
    assert pixel_sha(other) != pixel_sha(mask)


def test_the_name_knows_the_shape_and_never_changes() -> None:
    assert pixel_sha(np.zeros((2, 6), dtype=bool)) != pixel_sha(np.zeros((6, 2), dtype=bool))
    assert pixel_sha(np.zeros((3, 3), dtype=bool)) != pixel_sha(np.zeros((3, 4), dtype=bool))
    assert pixel_sha(drawn("#.", ".#")) == "65a753750f71293150acb038eec5eabacdbc72304a91556c17683665302016bc"


@given(MASKS)
def test_the_largest_component_agrees_with_scipy(mask: np.ndarray) -> None:
    labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
    kept = largest_component(mask)
    if count == 0:
        assert not kept.any()
        return
    sizes = np.bincount(labels.ravel())[1:]
    assert np.array_equal(kept, labels == 1 + sizes.argmax())  # scipy labels in reading order: first of equals


def test_corners_connect_and_the_mask_given_is_left_alone() -> None:
    mask = drawn("#....", ".#..#", "..#.#")
    before = mask.copy()
    assert np.array_equal(largest_component(mask), drawn("#....", ".#...", "..#.."))
    assert np.array_equal(mask, before)


@given(st.data(), SHAPES)
def test_dice_and_iou_agree_with_sets_of_pixels(data: st.DataObject, shape: tuple[int, int]) -> None:
    a, b = data.draw(hnp.arrays(bool, shape)), data.draw(hnp.arrays(bool, shape))
    here, there = (set(zip(*(axis.tolist() for axis in np.nonzero(mask)), strict=True)) for mask in (a, b))
    assert changed_pixels(a, b) == len(here ^ there)
    if here | there:
        assert iou(a, b) == pytest.approx(len(here & there) / len(here | there))
        assert dice(a, b) == pytest.approx(2 * iou(a, b) / (1 + iou(a, b)))


def test_the_edges_of_dice_and_iou() -> None:
    empty, full, half = drawn("...."), drawn("####"), drawn("##..")
    assert (dice(empty, empty), iou(empty, empty)) == (1.0, 1.0)
    assert (dice(empty, full), iou(empty, full)) == (0.0, 0.0)
    assert (dice(half, full), iou(half, full)) == (pytest.approx(2 / 3), 0.5)
    assert (changed_pixels(half, full), changed_pixels(full, full)) == (2, 0)


@pytest.mark.parametrize("compare", [dice, iou, changed_pixels])
def test_masks_of_different_sizes_are_not_compared(compare) -> None:
    with pytest.raises(MaskShapeError, match="2 x 1 and 1 x 2"):
        compare(np.ones((2, 1), dtype=bool), np.ones((1, 2), dtype=bool))


@given(MASKS)
def test_holes_are_filled_as_scipy_fills_them(mask) -> None:
    assert np.array_equal(fill_holes(mask), ndimage.binary_fill_holes(mask))


@given(MASKS, st.floats(0, 1))
def test_small_parts_go_and_the_largest_stays(mask, share) -> None:
    labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
    areas = [int((labels == part).sum()) for part in range(1, count + 1)]
    kept = [part for part, area in enumerate(areas, start=1) if area >= share * max(areas)]
    assert np.array_equal(drop_small_parts(mask, share), np.isin(labels, kept) & mask)
    assert drop_small_parts(mask, share)[largest_component(mask)].all()
