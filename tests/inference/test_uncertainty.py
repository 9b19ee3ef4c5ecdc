import math
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy as scipy_entropy

from plankseg.config import Measure
from plankseg.imaging.letterbox import Letterbox
from plankseg.imaging.threshold import automatic_mask
from plankseg.inference.uncertainty import MEASURES as NAMED
from plankseg.inference.uncertainty import (
    conventional_disagreement,
    entropy,
    jsd,
    mean_in_band,
    mean_inside,
    variance,
)

pytestmark = pytest.mark.slow

MEASURES = [variance, entropy, jsd]
COINS = st.lists(st.floats(0, 1, width=32), min_size=2, max_size=8)


def pixel(*probabilities: float) -> torch.Tensor:
    return torch.tensor(probabilities, dtype=torch.float32).reshape(-1, 1, 1, 1)


def random_views(views: int, n: int, h: int, w: int) -> torch.Tensor:
    return torch.rand(views, n, h, w, generator=torch.Generator().manual_seed(0))


def random_map(side: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((side, side), dtype=np.float32)


@pytest.mark.parametrize("measure", MEASURES)
def test_a_measure_gives_one_map_per_image(measure: object) -> None:
    stack = random_views(5, 3, 4, 6)
    maps = measure(stack)
    assert maps.shape == (3, 4, 6)
    assert torch.allclose(maps[1:2], measure(stack[:, 1:2]), atol=1e-6)  # the vectorised sum may round differently


def test_variance_is_numpys_over_the_views() -> None:
    stack = random_views(5, 2, 3, 4)
    assert variance(stack).numpy() == pytest.approx(stack.numpy().var(axis=0), abs=1e-6)
    assert variance(pixel(0, 1)).item() == 0.25


def test_entropy_is_scipys_of_the_mean() -> None:
    stack = random_views(8, 2, 3, 4)
    mean = stack.double().numpy().mean(axis=0)
    assert entropy(stack).numpy() == pytest.approx(scipy_entropy(np.stack([mean, 1 - mean]), axis=0), abs=1e-6)
    assert entropy(pixel(0.5, 0.5)).item() == pytest.approx(math.log(2))


@given(st.floats(0, 1, width=32), st.floats(0, 1, width=32))
def test_jsd_of_two_views_is_scipys_squared_distance(a: float, b: float) -> None:
    assert jsd(pixel(a, b)).item() == pytest.approx(jensenshannon([a, 1 - a], [b, 1 - b]) ** 2, abs=1e-6)


@given(COINS)
def test_measures_stay_in_their_range(coins: list[float]) -> None:
    stack = pixel(*coins)
    assert 0 <= variance(stack).item() <= 0.25 + 1e-6
    assert 0 <= jsd(stack).item() <= entropy(stack).item() + 1e-6 <= math.log(2) + 2e-6


@given(st.floats(0, 1, width=32))
def test_a_doubt_that_all_views_share_is_entropy_but_no_disagreement(coin: float) -> None:
    stack = pixel(*[coin] * 5)
    assert variance(stack).item() == pytest.approx(0, abs=1e-9)
    assert jsd(stack).item() == pytest.approx(0, abs=1e-6)
    assert entropy(stack).item() == pytest.approx(scipy_entropy([coin, 1 - coin]), abs=1e-6)


def test_certain_views_that_contradict_each_other_have_the_greatest_jsd() -> None:
    assert jsd(pixel(0, 1)).item() == pytest.approx(math.log(2))


def test_the_recipe_names_the_measure() -> None:
    of_maps = [NAMED[name] for name in get_args(Measure) if name not in {"conventional", "dice"}]
    assert of_maps == MEASURES


def test_masks_disagree_where_some_of_the_views_are_on_the_other_side_of_a_half() -> None:
    views = torch.tensor([[[[0.9, 0.9, 0.1]]], [[[0.8, 0.2, 0.4]]], [[[0.7, 0.7, 0.0]]], [[[0.6, 0.6, 0.3]]]])
    assert torch.equal(NAMED["dice"](views), torch.tensor([[[0.0, 0.25, 0.0]]]))


def test_the_conventional_measure_is_the_distance_to_the_automatic_mask() -> None:
    grey = np.full((30, 40), 240, np.uint8)
    grey[8:22, 10:30] = 60
    letterbox = Letterbox.of(grey.shape, 40)
    square = letterbox.apply(grey)
    automatic = letterbox.apply_mask(automatic_mask(grey, outline="local contrast").mask)
    same = conventional_disagreement(automatic.astype(np.float32), square, letterbox)
    assert same.max() == 0
    missing = conventional_disagreement(np.full((40, 40), 0.25, np.float32), square, letterbox)
    assert np.array_equal(missing[automatic], np.full(int(automatic.sum()), 0.75, np.float32))
    inside = np.zeros((40, 40), bool)
    inside[letterbox.inside] = True
    assert (missing[inside & ~automatic] == 0.25).all()
    assert (missing[~inside] == 0).all()


def test_where_the_automatic_mask_is_rejected_the_conventional_measure_is_the_models_doubt() -> None:
    flat = np.full((20, 20), 200, np.uint8)
    letterbox = Letterbox.of(flat.shape, 20)
    probability = random_map(20)
    expected = np.minimum(probability, 1 - probability)
    assert conventional_disagreement(probability, flat, letterbox) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("shape", [(10, 40), (40, 10), (40, 40), (7, 300)])
def test_values_in_the_padding_do_not_matter(shape: tuple[int, int]) -> None:
    letterbox = Letterbox.of(shape, 32)
    padding = np.ones((32, 32), dtype=bool)
    padding[letterbox.inside] = False
    uncertainty, probability = random_map(32, 1), random_map(32, 2)
    spoiled, fooled = uncertainty.copy(), probability.copy()
    spoiled[padding], fooled[padding] = np.nan, 1 - probability[padding].round()
    assert mean_inside(spoiled, letterbox) == mean_inside(uncertainty, letterbox)
    band = mean_in_band(uncertainty, probability, letterbox, 2)
    assert mean_in_band(spoiled, fooled, letterbox, 2) == band


def test_mean_inside_is_the_mean_of_the_images_own_pixels() -> None:
    letterbox = Letterbox.of((4, 8), 8)
    uncertainty = np.zeros((8, 8), dtype=np.float32)
    uncertainty[letterbox.inside] = np.arange(32, dtype=np.float32).reshape(4, 8)
    assert mean_inside(uncertainty, letterbox) == 15.5


def test_the_band_of_one_pixel_is_both_sides_of_the_outline() -> None:
    probability = np.zeros((8, 8), dtype=np.float32)
    probability[2:6, 2:6] = 0.5  # 0.5 is object already
    uncertainty = np.zeros((8, 8), dtype=np.float32)
    inner_ring, outer_ring = 12, 16  # of a 4 x 4 object; the four outer corners are sqrt 2 away
    uncertainty[2:6, 2:6] = 1.0
    uncertainty[3:5, 3:5] = 99.0  # the core is not in the band
    uncertainty[0] = 99.0
    expected = inner_ring / (inner_ring + outer_ring)
    assert mean_in_band(uncertainty, probability, Letterbox.of((8, 8), 8), 1) == pytest.approx(expected)


@pytest.mark.parametrize("band_px", [1, 2, 5])
def test_the_band_is_where_an_exact_distance_says(band_px: int) -> None:
    rows, columns = np.mgrid[:40, :40]
    mask = (rows - 18) ** 2 + 2 * (columns - 23) ** 2 < 150
    mask[5:7, 2:30] = True
    to_other_kind = np.maximum(distance_transform_edt(mask), distance_transform_edt(~mask))
    uncertainty = random_map(40)
    found = mean_in_band(uncertainty, mask.astype(np.float32), Letterbox.of((40, 40), 40), band_px)
    assert found == pytest.approx(uncertainty[to_other_kind <= band_px].mean(), rel=1e-6)


@pytest.mark.parametrize("everywhere", [0.0, 0.49, 0.5, 1.0])
def test_without_an_outline_the_band_is_the_whole_image(everywhere: float) -> None:
    letterbox = Letterbox.of((10, 20), 20)
    flat = np.full((20, 20), everywhere, dtype=np.float32)
    uncertainty = random_map(20)
    assert mean_in_band(uncertainty, flat, letterbox, 3) == mean_inside(uncertainty, letterbox)
