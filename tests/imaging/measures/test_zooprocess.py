"""Measures of ZooProcess: its own figures of a real object, textbook statistics, and a blur that is known."""

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy import stats

from plankseg.errors import MaskShapeError
from plankseg.imaging.measures.zooprocess import COLUMNS, focus, grey_levels, zooprocess_features


@pytest.mark.real_data
def test_the_figures_of_a_real_object_are_those_that_zooprocess_wrote(real_data: Path) -> None:
    folder = real_data / "zooprocess-gpl3"
    grey, mask = (
        np.asarray(Image.open(folder / "images" / name).convert("L"))
        for name in ("crop_2855_223.png", "mask_holes_2855_223.png")
    )
    with (folder / "ecotaxa_2855_223.tsv").open(encoding="utf-8-sig") as file:
        written = list(csv.DictReader(file, delimiter="\t"))[1]
    found = zooprocess_features(mask == 0, grey)
    compared = [name for name in COLUMNS if f"object_{name}" in written]
    assert set(COLUMNS) - set(compared) == {"focus"}
    for name in compared:
        value = written[f"object_{name}"]
        decimals = min(4, len(value.partition(".")[2]))
        assert found[name] == pytest.approx(float(value), abs=0.5001 * 10**-decimals), name


@pytest.mark.parametrize("seed", range(4))
def test_the_statistics_are_those_of_scipy(seed: int) -> None:
    pixels = np.random.default_rng(seed).binomial(255, 0.3 + 0.1 * seed, 501).astype(np.uint8)
    found = grey_levels(pixels)
    assert found["mean"] == pytest.approx(pixels.mean())
    assert found["stddev"] == pytest.approx(pixels.std(ddof=1))
    assert found["mode"] == stats.mode(pixels).mode
    assert found["median"] == np.median(pixels)
    assert found["intden"] == pixels.sum(dtype=int)
    assert (found["skew"], found["kurt"]) == pytest.approx((stats.skew(pixels), stats.kurtosis(pixels)))
    assert (found["min"], found["max"], found["range"]) == (pixels.min(), pixels.max(), np.ptp(pixels))


def test_an_even_object_and_a_single_pixel_have_figures() -> None:
    even = grey_levels(np.full(9, 200, dtype=np.uint8))
    assert (even["stddev"], even["skew"], even["kurt"], even["range"]) == (0, 0, 0, 0)
    single = np.zeros((5, 5), dtype=bool)
    single[2, 2] = True
    found = zooprocess_features(single, np.full((5, 5), 9, dtype=np.uint8))
    assert (found["area"], found["intden"], found["stddev"], found["focus"]) == (1, 9, 0, 0)


def test_holes_belong_to_the_object() -> None:
    mask = np.zeros((9, 9), dtype=bool)
    mask[1:8, 1:8] = True
    mask[4, 4] = False
    grey = np.where(mask, 100, 250).astype(np.uint8)
    found = zooprocess_features(mask, grey)
    assert (found["area"], found["area_exc"], found["max"]) == (49, 48, 250)
    assert found["%area"] == pytest.approx(100 / 49)
    assert found["intden"] == 48 * 100 + 250


@pytest.mark.parametrize("blur", [1.0, 2.0, 3.0, 4.0])
def test_the_focus_of_a_blurred_edge_says_how_blurred_it_is_whatever_its_contrast_and_size(blur: float) -> None:
    for radius, contrast in ((40, 200.0), (80, 200.0), (40, 100.0)):
        rows, columns = np.mgrid[:241, :241] - 120
        disc = rows**2 + columns**2 < radius**2
        light = cv2.GaussianBlur(np.where(disc, 255 - contrast, 255.0), (0, 0), blur)
        wide = cv2.dilate(disc.astype(np.uint8), np.ones((25, 25), np.uint8)).astype(bool)
        assert focus(light.round().astype(np.uint8), wide) == pytest.approx(1 / (2 * (blur**2 + 1)), rel=0.1)


def test_an_empty_mask_and_one_of_another_size_are_refused() -> None:
    grey = np.zeros((4, 5), dtype=np.uint8)
    with pytest.raises(ValueError, match="empty mask has no features"):
        zooprocess_features(np.zeros((4, 5), dtype=bool), grey)
    with pytest.raises(MaskShapeError, match="Make it again"):
        zooprocess_features(np.ones((5, 4), dtype=bool), grey)
