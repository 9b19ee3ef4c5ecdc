"""Pictures for people: the line is where the mask is, nothing spills, everything fits where it is shown."""

import base64
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from plankseg.errors import MaskShapeError
from plankseg.imaging.pictures.overlay import (
    CORRECTION,
    PRE_MASK,
    GalleryRow,
    data_uri,
    encode_rgb,
    fit_under,
    gallery,
    heatmap,
    outline,
    strip,
)


def plain(height: int, width: int, grey: int = 200) -> np.ndarray:
    return np.full((height, width), grey, dtype=np.uint8)


def painted(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return np.all(picture == np.array(colour, dtype=np.uint8), axis=2)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 99))
def test_the_outline_stays_on_the_object_and_leaves_no_edge_pixel_out(height: int, width: int, seed: int) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < 0.6
    picture = outline(plain(height, width), mask, min_side_px=80)
    factor = picture.shape[0] // height
    assert picture.shape == (height * factor, width * factor, 3)
    assert max(picture.shape) >= 80
    large = mask.repeat(factor, 0).repeat(factor, 1)
    line = painted(picture, PRE_MASK)
    assert not np.any(line & ~large)
    padded = np.pad(large, 1)
    neighbours = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    assert np.all(line[large & ~neighbours])
    assert np.all(picture[~line] == 200)


def test_a_tiny_image_is_enlarged_so_that_the_line_is_thinner_than_its_pixels() -> None:
    mask = np.zeros((11, 29), dtype=bool)
    mask[3:8, 5:20] = True
    picture = outline(plain(11, 29), mask, colour=CORRECTION)
    assert picture.shape == (99, 261, 3)
    line = painted(picture, CORRECTION)
    assert line[27:72, 45:180].any()
    assert np.all(picture[36:63, 54:171] == 200)  # the object's inner pixels are seen as they are
    assert line.sum() < 0.3 * mask.sum() * 81


def test_large_images_keep_their_size_and_get_a_line_that_survives_shrinking() -> None:
    mask = np.zeros((134, 1285), dtype=bool)
    mask[20:110, 100:1200] = True
    picture = outline(plain(134, 1285), mask)
    assert picture.shape == (134, 1285, 3)
    shown = gallery([GalleryRow((picture,), "")], cell_px=180).astype(int)
    assert (shown[:, :, 0] - shown[:, :, 1]).max() > 80


def test_a_mask_over_everything_is_framed_and_an_empty_one_draws_nothing() -> None:
    full = painted(outline(plain(20, 30), np.ones((20, 30), dtype=bool)), PRE_MASK)
    assert full[0].all()
    assert full[:, -1].all()
    assert not full[90, 120]
    assert not painted(outline(plain(20, 30), np.zeros((20, 30), dtype=bool)), PRE_MASK).any()


def test_an_outline_of_another_image_is_refused() -> None:
    with pytest.raises(MaskShapeError, match=r"\(3, 2\).*\(2, 3\)"):
        outline(plain(2, 3), np.ones((3, 2), dtype=bool))


def test_heat_grows_with_the_value() -> None:
    warm = heatmap(np.linspace(0, 0.25, 60).reshape(6, 10)).astype(int).sum(axis=2).ravel()
    assert warm[0] < 20
    assert np.all(np.diff(warm) > 0)


def test_heat_of_nothing_is_dark_and_a_common_scale_is_kept() -> None:
    assert heatmap(np.zeros((4, 5))).max() < 20
    half = heatmap(np.full((2, 2), 0.5), high=1.0)
    assert not np.array_equal(half, heatmap(np.full((2, 2), 0.5)))
    assert np.array_equal(heatmap(np.full((2, 2), 7.0), high=1.0), heatmap(np.ones((2, 2))))


def test_a_map_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="1 values"):
        heatmap(np.array([[0.0, np.nan]]))


def coloured(height: int, width: int, colour: tuple[int, int, int]) -> np.ndarray:
    return np.broadcast_to(np.array(colour, dtype=np.uint8), (height, width, 3)).copy()


def test_a_gallery_shows_every_picture_in_its_row_and_column() -> None:
    colours = [[(250, 10 * row, 100 * column) for column in range(2)] for row in range(5)]
    rows = [GalleryRow(tuple(coloured(10, 10, c) for c in line), "row") for line in colours]
    sheet = gallery(rows, cell_px=50, across=2, titles=("left", "right"))
    for number, line in enumerate(colours):
        for column, colour in enumerate(line):
            spots = np.argwhere(painted(sheet, colour))
            assert len(spots) == 50 * 50
            middle = spots.mean(axis=0)
            assert middle[0] == pytest.approx(20 + (number // 2) * 76 + 20 + 24.5)
            assert middle[1] == pytest.approx((number % 2) * 118 + 6 + column * 56 + 24.5)


@pytest.mark.parametrize("shape", [(11, 29), (1285, 134), (1, 700), (700, 1), (50, 50)])
def test_pictures_of_any_shape_keep_their_aspect_and_stay_in_their_cell(shape: tuple[int, int]) -> None:
    sheet = gallery([GalleryRow((coloured(*shape, (9, 200, 9)),), "")], cell_px=60)
    spots = np.argwhere(painted(sheet, (9, 200, 9)))
    tall, wide = spots.max(axis=0) - spots.min(axis=0) + 1
    assert max(tall, wide) == 60
    assert abs(min(tall, wide) - max(1, 60 * min(shape) / max(shape))) <= 0.5


def test_a_caption_is_written_and_a_long_one_does_not_reach_its_neighbour() -> None:
    picture = coloured(10, 10, (9, 9, 9))
    bare = gallery([GalleryRow((picture,), ""), GalleryRow((picture,), "")], cell_px=60, across=2)
    long = gallery(
        [GalleryRow((picture,), "a taxon <of> many\nwords é " * 9), GalleryRow((picture,), "")], cell_px=60, across=2
    )
    assert (bare[:20, :72] != long[:20, :72]).any()
    assert np.array_equal(bare[20:], long[20:])
    assert np.array_equal(bare[:20, 72:], long[:20, 72:])


def test_rows_of_unequal_length_are_shown_and_nothing_is_refused_as_a_gallery() -> None:
    picture = coloured(4, 4, (9, 9, 9))
    assert gallery([GalleryRow((picture,), "one"), GalleryRow((picture,) * 3, "three")], cell_px=20).shape == (
        92,
        84,
        3,
    )
    for nothing in ([], [GalleryRow((), "none")]):
        with pytest.raises(ValueError, match="at least one"):
            gallery(nothing)


def test_a_strip_has_one_picture_beside_the_other() -> None:
    pictures = [coloured(5, 5, (50 * n, 0, 0)) for n in range(1, 6)]
    sheet = strip(pictures, [f"view {n}" for n in range(5)], cell_px=40)
    lefts = [np.argwhere(painted(sheet, (50 * n, 0, 0)))[:, 1].min() for n in range(1, 6)]
    assert lefts == [6 + 52 * n for n in range(5)]
    with pytest.raises(ValueError):
        strip(pictures, ["too few"])


def test_a_picture_survives_its_png_and_its_address() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (13, 7, 3), dtype=np.uint8)
    address = data_uri(encode_rgb(rgb))
    head, body = address.split(",")
    assert head == "data:image/png;base64"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(body)))), rgb)


def test_addresses_name_what_they_hold() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (90, 90, 3), dtype=np.uint8)
    jpeg = fit_under(noise, 15_000)
    assert data_uri(jpeg).startswith("data:image/jpeg;base64,")
    with pytest.raises(ValueError):
        data_uri(b"GIF89a")


@pytest.mark.parametrize("max_bytes", [3_000, 20_000, 60_000, 10_000_000])
def test_a_picture_is_made_to_fit_and_no_smaller_than_it_must(max_bytes: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 500, 3), dtype=np.uint8)
    data = fit_under(noise, max_bytes)
    assert len(data) <= max_bytes
    assert len(data) > min(max_bytes, len(encode_rgb(noise))) * 0.4
    width, height = Image.open(io.BytesIO(data)).size
    assert width / height == pytest.approx(500 / 300, rel=0.05)


def test_a_small_picture_is_not_touched_and_an_impossible_bound_is_told() -> None:
    rgb = coloured(40, 40, (1, 2, 3))
    assert fit_under(rgb, 10_000) == encode_rgb(rgb)
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match="Allow more"):
        fit_under(noise, 300)
