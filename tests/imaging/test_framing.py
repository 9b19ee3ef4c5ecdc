"""Framing: one square for all, or images that keep their scale in the smallest square that holds them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plankseg.imaging.framing import Framing, grouped_by_side
from plankseg.imaging.letterbox import Letterbox

SIZES = st.integers(1, 1500)


@given(SIZES, SIZES, st.sampled_from([32, 96, 256]))
def test_without_a_zoom_every_image_fills_the_square(height: int, width: int, side: int) -> None:
    assert Framing(side).letterbox((height, width)) == Letterbox.of((height, width), side)
    assert Framing(side).sides == (side,)


@pytest.mark.parametrize(
    ("shape", "zoom", "side", "inner"),
    [
        ((60, 40), 1.0, 96, (96, 64)),
        ((12, 20), 1.0, 96, (48, 80)),
        ((97, 40), 1.0, 128, (97, 40)),
        ((100, 40), 1.5, 160, (150, 60)),
        ((256, 100), 1.0, 256, (256, 100)),
        ((512, 100), 1.0, 256, (256, 50)),
        ((512, 100), 4.0, 256, (256, 50)),
        ((20, 10), 8.0, 160, (160, 80)),
        ((1, 1), 1.0, 96, (4, 4)),
        ((1285, 1), 1.0, 256, (256, 1)),
    ],
)
def test_with_a_zoom_images_keep_their_scale_until_the_largest_square(
    shape: tuple[int, int], zoom: float, side: int, inner: tuple[int, int]
) -> None:
    letterbox = Framing(256, zoom).letterbox(shape)
    rows, columns = letterbox.inside
    assert letterbox.side == side
    assert (rows.stop - rows.start, columns.stop - columns.start) == inner


@given(SIZES, SIZES, st.sampled_from([0.5, 1.0, 1.5, 3.0]), st.sampled_from([64, 96, 256, 400]))
def test_every_square_is_one_of_the_sides(height: int, width: int, zoom: float, largest: int) -> None:
    framing = Framing(largest, zoom)
    assert framing.letterbox((height, width)).side in framing.sides
    assert framing.sides[-1] == largest
    assert all(side % 32 == 0 for side in framing.sides[:-1])


@given(st.integers(96, 300), st.integers(1, 300))
def test_at_its_own_scale_an_image_comes_back_to_the_last_bit(height: int, width: int) -> None:
    probability = np.random.default_rng(height * width).random((height, width), dtype=np.float32)
    letterbox = Framing(320, 1.0).letterbox((height, width))
    square = np.zeros((letterbox.side, letterbox.side), np.float32)
    square[letterbox.inside] = probability
    assert np.array_equal(letterbox.undo(square), probability)


def test_groups_have_one_side_and_keep_the_order() -> None:
    letterboxes = [Framing(256, 1.0).letterbox((size, size)) for size in (60, 200, 61, 62, 201, 63)]
    assert list(grouped_by_side(letterboxes, lambda side: 3 if side == 96 else 1)) == [[0, 2, 3], [5], [1], [4]]
    assert list(grouped_by_side([], lambda _: 1)) == []


def test_an_image_without_pixels_is_refused() -> None:
    with pytest.raises(ValueError, match="no pixels"):
        Framing(64, 1.0).letterbox((0, 5))
