"""Into the square and back: nothing moves, nothing is lost, nothing comes from the padding."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from plankseg.errors import MaskShapeError
from plankseg.imaging.letterbox import Letterbox
from plankseg.imaging.masks import iou
from plankseg.imaging.reading import read_grey

ODD_SIZES = [(11, 29), (1285, 134), (70, 600), (256, 256)]
SIZES = st.integers(1, 400)
SIDES = st.integers(1, 40).map(lambda n: 8 * n)


def blob(height: int, width: int, *, at: tuple[float, float] = (0.5, 0.5)) -> np.ndarray:
    """An ellipse of three fifths of each side."""
    y, x = np.mgrid[:height, :width] + 0.5
    return ((y / height - at[0]) / 0.3) ** 2 + ((x / width - at[1]) / 0.3) ** 2 < 1


def there_and_back(mask: np.ndarray, side: int) -> np.ndarray:
    box = Letterbox.of(mask.shape, side)
    return box.undo(box.apply_mask(mask).astype(np.float32)) >= 0.5


def random_blobs(height: int, width: int, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).random((height, width))
    smooth = ndimage.gaussian_filter(noise, 3)
    return smooth > np.median(smooth)


@pytest.mark.parametrize("side", [256, 272, 512])
@pytest.mark.parametrize("shape", ODD_SIZES)
def test_a_blob_comes_back_in_its_place(shape: tuple[int, int], side: int) -> None:
    mask = blob(*shape, at=(0.4, 0.55))
    assert iou(mask, there_and_back(mask, side)) >= 0.95


@pytest.mark.parametrize(("shape", "side"), [((29, 11), 256), ((64, 64), 128), ((50, 30), 100), ((31, 32), 320)])
def test_any_mask_comes_back_exactly_from_a_square_twice_its_size(shape: tuple[int, int], side: int) -> None:
    mask = random_blobs(*shape, seed=3)
    assert np.array_equal(there_and_back(mask, side), mask)


@given(SIZES, SIZES, SIDES, st.integers(0, 9))
def test_only_pixels_near_an_edge_can_change(height: int, width: int, side: int, seed: int) -> None:
    mask = random_blobs(height, width, seed)
    back = there_and_back(mask, side)
    assert back.shape == mask.shape
    rows, columns = Letterbox.of(mask.shape, side).inside
    reach = [int(np.ceil(1.5 * n / (s.stop - s.start))) + 1 for n, s in ((height, rows), (width, columns))]
    near = [2 * n + 1 for n in reach]
    sure = ndimage.minimum_filter(mask, size=near, mode="nearest")
    possible = ndimage.maximum_filter(mask, size=near, mode="nearest")
    assert np.all(back[sure])
    assert not np.any(back[~possible])


@given(SIZES, SIZES, SIDES)
def test_undo_puts_each_place_of_the_square_at_its_place_in_the_image(height: int, width: int, side: int) -> None:
    box = Letterbox.of((height, width), side)
    for axis, (size, inside) in enumerate(zip((height, width), box.inside, strict=True)):
        inner = inside.stop - inside.start
        position = (np.arange(side) - inside.start + 0.5) / inner
        square = np.broadcast_to(position[:, None] if axis == 0 else position[None, :], (side, side))
        native = box.undo(square.astype(np.float32)).mean(axis=1 - axis)
        wanted = np.clip((np.arange(size) + 0.5) / size, 0.5 / inner, 1 - 0.5 / inner)
        assert np.abs(native - wanted).max() <= 0.26 / max(size, inner) + 1e-4


@given(SIZES, SIZES, SIDES)
def test_apply_puts_each_place_of_the_image_at_its_place_in_the_square(height: int, width: int, side: int) -> None:
    box = Letterbox.of((height, width), side)
    for axis, (size, inside) in enumerate(zip((height, width), box.inside, strict=True)):
        inner = inside.stop - inside.start
        position = 250 * (np.arange(size) + 0.5) / size
        image = np.broadcast_to(position[:, None] if axis == 0 else position[None, :], (height, width))
        square = box.apply(np.round(image).astype(np.uint8))[box.inside].mean(axis=1 - axis)
        wanted = 250 * np.clip((np.arange(inner) + 0.5) / inner, 0.5 / size, 1 - 0.5 / size)
        assert np.abs(square - wanted).max() <= 250 * 0.26 / max(size, inner) + 1.01


@given(SIZES, SIZES, SIDES)
def test_the_image_lies_inside_the_square_centred_with_its_aspect(height: int, width: int, side: int) -> None:
    rows, columns = Letterbox.of((height, width), side).inside
    sizes = rows.stop - rows.start, columns.stop - columns.start
    assert max(sizes) == side
    assert min(sizes) >= 1
    for cut in (rows, columns):
        assert cut.start >= 0
        assert cut.stop <= side
        assert abs(cut.start - (side - cut.stop)) <= 1
    scale = side / max(height, width)
    assert all(abs(inner - max(1, size * scale)) <= 0.5 for inner, size in zip(sizes, (height, width), strict=True))


@given(SIZES, SIZES, SIDES)
def test_full_stays_full_empty_stays_empty_and_padding_is_never_object(height: int, width: int, side: int) -> None:
    box = Letterbox.of((height, width), side)
    inside = np.zeros((side, side), dtype=bool)
    inside[box.inside] = True
    assert np.array_equal(box.apply_mask(np.ones((height, width), dtype=bool)), inside)
    assert not box.apply_mask(np.zeros((height, width), dtype=bool)).any()


@given(SIZES, SIZES, SIDES, st.integers(0, 9))
def test_what_lies_on_the_padding_does_not_count(height: int, width: int, side: int, seed: int) -> None:
    box = Letterbox.of((height, width), side)
    inner = np.random.default_rng(seed).random((side, side), dtype=np.float32)
    padded = np.where(np.isin(np.arange(side), np.r_[box.inside[0]])[:, None], inner, 9)
    padded[:, np.setdiff1d(np.arange(side), np.r_[box.inside[1]])] = 9
    native = box.undo(padded.astype(np.float32))
    assert (native.dtype, native.shape) == (np.float32, (height, width))
    assert np.array_equal(native, box.undo(inner))
    assert inner.min() <= native.min() <= native.max() <= inner.max()


@pytest.mark.parametrize("level", [1.0, 0.1, 1 / 3])
def test_a_flat_map_stays_flat_to_the_last_bit(level: float) -> None:
    for shape in [*ODD_SIZES, (123, 77), (333, 211), (301, 97)]:
        native = Letterbox.of(shape, 272).undo(np.full((272, 272), level, dtype=np.float64))
        assert np.all(native == np.float32(level))  # rounding must not make a probability of 1.0000001


def test_an_antenna_one_pixel_wide_survives_halving() -> None:
    mask = np.zeros((128, 128), dtype=bool)
    mask[40, 10:110] = True
    assert np.array_equal(np.argwhere(Letterbox.of(mask.shape, 64).apply_mask(mask)), [[20, x] for x in range(5, 55)])


def test_a_square_image_of_the_side_is_unchanged_bit_for_bit() -> None:
    rng = np.random.default_rng(0)
    grey, mask = rng.integers(0, 256, (96, 96), dtype=np.uint8), rng.random((96, 96)) < 0.5
    probability = rng.random((96, 96), dtype=np.float32)
    box = Letterbox.of((96, 96), 96)
    assert np.array_equal(box.apply(grey), grey)
    assert np.array_equal(box.apply_mask(mask), mask)
    assert np.array_equal(box.undo(probability), probability)


@pytest.mark.parametrize("make", [lambda b, g: b.apply(g), lambda b, g: b.apply_mask(g > 99)])
def test_the_square_is_not_a_window_on_the_image(make) -> None:
    grey = np.full((96, 96), 200, dtype=np.uint8)
    make(Letterbox.of((96, 96), 96), grey)[:] = 0
    assert np.all(grey == 200)


def test_padding_is_the_grey_of_the_border() -> None:
    grey = np.full((20, 40), 240, dtype=np.uint8)
    grey[5:15, 10:30] = 30
    square = Letterbox.of(grey.shape, 80).apply(grey)
    assert np.all(square[:20] == 240)
    assert np.all(square[60:] == 240)
    assert np.all(square[32:48, 24:56] == 30)


@pytest.mark.parametrize("shape", [(1285, 20), (1285, 1), (1, 1285), (1, 1)])
def test_thin_images_keep_a_pixel_and_come_back(shape: tuple[int, int]) -> None:
    box = Letterbox.of(shape, 256)
    square = box.apply(np.full(shape, 17, dtype=np.uint8))
    assert np.all(square == 17)
    assert np.all(there_and_back(np.ones(shape, dtype=bool), 256))


def test_an_object_of_one_pixel_does_not_vanish_from_a_small_square() -> None:
    mask = np.zeros((500, 300), dtype=bool)
    mask[100, 200] = True
    square = Letterbox.of(mask.shape, 64).apply_mask(mask)
    assert square.sum() == 1
    rows, columns = np.nonzero(square)
    top, left = (s.start for s in Letterbox.of(mask.shape, 64).inside)
    assert (rows[0] - top, columns[0] - left) == (int(100.5 * 64 / 500), int(200.5 * 38 / 300))


def test_turning_the_image_turns_the_square() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (90, 40), dtype=np.uint8)
    upright, turned = Letterbox.of(grey.shape, 64), Letterbox.of(grey.T.shape, 64)
    difference = turned.apply(np.ascontiguousarray(grey.T)).astype(int) - upright.apply(grey).T
    assert np.abs(difference).max() <= 1  # rounding
    mask = grey > 128
    assert np.array_equal(turned.apply_mask(np.ascontiguousarray(mask.T)), upright.apply_mask(mask).T)


def test_wrong_sizes_are_refused() -> None:
    box = Letterbox.of((20, 30), 64)
    with pytest.raises(ValueError, match="20 x 30 and was given 30 x 20"):
        box.apply(np.zeros((30, 20), dtype=np.uint8))
    with pytest.raises(MaskShapeError):
        box.apply_mask(np.zeros((30, 20), dtype=bool))
    with pytest.raises(ValueError, match="64 x 64"):
        box.undo(np.zeros((32, 32), dtype=np.float32))
    with pytest.raises(ValueError, match="0 x 5"):
        Letterbox.of((0, 5), 64)


@pytest.mark.real_data
def test_real_vignettes_keep_their_mean_grey(real_data: Path) -> None:
    for path in sorted((real_data / "zooscannet-sample").rglob("*.jpg"))[::60]:
        grey = read_grey(path.read_bytes())
        box = Letterbox.of(grey.shape, 256)
        assert abs(float(box.apply(grey)[box.inside].mean()) - float(grey.mean())) < 1.5
