"""The scale bar is found where it is and nowhere else; a wiped ground is told from a kept one."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from plankseg.imaging.background import background_kind, border_pixels, find_footer
from plankseg.imaging.reading import read_grey


def with_bar(body: np.ndarray, *, bar_px: int = 95) -> np.ndarray:
    """The body with a bar as ZooProcess draws it: 31 white rows, 1 mm of grey 85, and some lettering."""
    footer = np.full((31, body.shape[1]), 255, dtype=np.uint8)
    footer[25:27, 9 : 9 + bar_px] = 85
    footer[14:21:2, 12:33:3] = 85
    return np.vstack([body, footer])


def blob(height: int = 90, width: int = 130) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    inside = ((y - height / 2) / (height / 3)) ** 2 + ((x - width / 2) / (width / 3)) ** 2 < 1
    return np.where(inside, 60, 255).astype(np.uint8)


def as_jpeg(grey: np.ndarray, quality: int) -> np.ndarray:
    out = io.BytesIO()
    Image.fromarray(grey).save(out, "JPEG", quality=quality)
    return read_grey(out.getvalue())


@pytest.mark.parametrize("bar_px", [24, 47, 95, 189])
@pytest.mark.parametrize("width", [40, 130, 300])
def test_a_bar_is_found_at_any_resolution_even_cut_by_the_right_edge(bar_px: int, width: int) -> None:
    assert find_footer(with_bar(blob(90, width), bar_px=bar_px)) == 31


@pytest.mark.parametrize("quality", [75, 90])
@pytest.mark.parametrize("height", [80, 83, 86])
def test_a_bar_is_found_through_jpeg(quality: int, height: int) -> None:
    assert find_footer(as_jpeg(with_bar(blob(height)), quality)) == 31


def test_no_bar_is_seen_where_there_is_none() -> None:
    assert find_footer(blob()) == 0
    assert find_footer(np.full((100, 100), 255, dtype=np.uint8)) == 0
    assert find_footer(np.full((100, 100), 85, dtype=np.uint8)) == 0
    assert find_footer(with_bar(blob())[:-3]) == 0
    assert find_footer(with_bar(blob())[-31:]) == 0


def test_a_horizontal_antenna_at_the_bars_place_is_no_bar() -> None:
    picture = np.vstack([blob(), np.full((31, 130), 255, dtype=np.uint8)])
    picture[-40:-6, 60:66] = 70  # the leg that carries it
    picture[-6:-4, 9:100] = 85
    assert find_footer(picture) == 0


def test_the_border_has_every_outer_pixel_once() -> None:
    grey = np.arange(20, dtype=np.uint8).reshape(4, 5)
    assert sorted(border_pixels(grey).tolist()) == [0, 1, 2, 3, 4, 5, 9, 10, 14, 15, 16, 17, 18, 19]
    assert sorted(border_pixels(grey[:2]).tolist()) == list(range(10))
    assert border_pixels(grey[:1, :1]).tolist() == [0]


def test_wiped_and_kept_grounds_are_told_apart() -> None:
    assert background_kind(blob()) == "erased"
    assert background_kind(np.minimum(blob(), 254)) == "kept"
    rng = np.random.default_rng(0)
    assert background_kind((240 + rng.integers(0, 16, (60, 60))).astype(np.uint8)) == "kept"
    crowded = np.full((60, 60), 40, dtype=np.uint8)
    crowded[[0, -1]] = 255
    crowded[:, [0, -1]] = 255
    assert background_kind(crowded) == "kept"


@pytest.mark.real_data
def test_real_bars_are_found_and_no_vignette_without_one_is_accused(real_data: Path) -> None:
    barred = sorted((real_data / "zooscan-pairs-mit").rglob("*_zooscan.png"))
    plain = [*(real_data / "zooscannet-sample").rglob("*.jpg"), *(real_data / "flowcam-nerc").rglob("*.png")]
    assert len(barred) == 3
    assert [find_footer(read_grey(path.read_bytes())) for path in barred] == [31, 31, 31]
    accused = [path.name for path in sorted(plain)[::8] if find_footer(read_grey(path.read_bytes()))]
    assert accused == []
