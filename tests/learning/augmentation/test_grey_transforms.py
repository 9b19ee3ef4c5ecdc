"""The cheap transforms for grey against albumentations' own, on grey repeated in three channels, same seeds."""

import random

import albumentations
import cv2
import numpy as np
import pytest

from plankseg.learning.augmentation.grey_transforms import (
    GreyFDA,
    GreyHistogramMatching,
    GreyISONoise,
    swap_low_amplitudes,
)

pytestmark = pytest.mark.slow

SIDES = (32, 47, 96)


def textured(side: int, seed: int, *, ground: int = 230) -> np.ndarray:
    """A dark blob with texture on a light, uneven ground."""
    rng = np.random.default_rng(seed)
    soft = cv2.GaussianBlur(rng.normal(0, 40, (side, side)), (0, 0), side / 12)
    square = (ground + soft + rng.normal(0, 3, (side, side))).clip(0, 255).astype(np.uint8)
    cv2.ellipse(square, (side // 2, side // 3), (side // 4, side // 6), 30 * seed, 0, 360, 60 + seed, thickness=-1)
    return square


def in_colour(square: np.ndarray) -> np.ndarray:
    return np.dstack([square] * 3)


def both(ours, stock, square: np.ndarray, *, seed: int, **metadata: object) -> tuple[np.ndarray, np.ndarray]:
    """What the two make of a square when their generators are in the same state."""
    for transform in (ours, stock):
        transform.set_random_state(np.random.default_rng(seed), random.Random(seed))
    varied = ours(image=square)["image"]
    expected = stock(image=in_colour(square), **metadata)["image"]
    assert varied.dtype == np.uint8
    assert np.ptp(expected, axis=2).max() == 0  # grey stays grey
    return varied.astype(int), expected[..., 0].astype(int)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("beta", [(0.0, 0.0), (0.0, 0.05), (0.1, 0.3), (0.5, 0.5)])
def test_fda_differs_by_less_than_one_grey_level(side, beta):
    references = np.stack([textured(side, seed, ground=150 + 20 * seed) for seed in range(4)])
    ours, stock = GreyFDA(beta_limit=beta, p=1), albumentations.FDA(beta_limit=beta, p=1)
    ours.refer_to(references)
    metadata = {"fda_metadata": [in_colour(reference) for reference in references]}
    moved = 0.0
    for seed in range(12):
        square = textured(side, 10 + seed)
        varied, expected = both(ours, stock, square, seed=seed, **metadata)
        difference = varied - expected
        assert difference.min() >= 0  # albumentations cuts the fraction off, ours are rounded
        assert difference.max() <= 1
        moved += np.abs(varied - square.astype(int)).mean()
    assert moved > 12 if beta[1] else moved == 0


def test_fda_without_a_window_is_the_identity_and_black_and_white_survive():
    square = textured(48, 1)
    amplitudes = np.abs(np.fft.rfft2(square.astype(np.float32)))[np.arange(-3, 4), :4]
    np.testing.assert_array_equal(swap_low_amplitudes(square, amplitudes, 0), square)
    np.testing.assert_array_equal(swap_low_amplitudes(square, amplitudes, 2), square)  # its own amplitudes
    black = np.zeros((48, 48), np.uint8)
    assert np.isfinite(swap_low_amplitudes(black, amplitudes, 2)).all()


@pytest.mark.parametrize("side", SIDES)
def test_histogram_matching_differs_by_at_most_one_grey_level(side):
    references = np.stack([textured(side, seed, ground=150 + 20 * seed) for seed in range(4)])
    ours, stock = GreyHistogramMatching(p=1), albumentations.HistogramMatching(p=1)
    ours.refer_to(references)
    metadata = {"hm_metadata": [in_colour(reference) for reference in references]}
    for seed in range(12):
        square = textured(side, 10 + seed)
        varied, expected = both(ours, stock, square, seed=seed, **metadata)
        assert np.abs(varied - expected).max() <= 1
        assert np.abs(varied - square.astype(int)).mean() > 2


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("intensity", [(0.1, 0.5), (1.0, 3.0)])
def test_iso_noise_lies_on_the_same_pixels_and_differs_by_at_most_one_grey_level(side, intensity):
    ours, stock = (kind(intensity=intensity, p=1) for kind in (GreyISONoise, albumentations.ISONoise))
    for seed in range(12):
        square = textured(side, seed)
        varied, expected = both(ours, stock, square, seed=seed)
        assert np.abs(varied - expected).max() <= 1
        assert np.count_nonzero(varied != square) > 0


def test_iso_noise_on_a_flat_square_is_none():
    square = np.full((32, 32), 90, np.uint8)
    np.testing.assert_array_equal(GreyISONoise(p=1)(image=square)["image"], square)


def test_probabilities_are_those_of_albumentations():
    reference = textured(32, 3)
    for ours, stock in (
        (GreyFDA(p=0.3), albumentations.FDA(p=0.3)),
        (GreyHistogramMatching(p=0.3), albumentations.HistogramMatching(p=0.3)),
        (GreyISONoise(p=0.3), albumentations.ISONoise(p=0.3)),
    ):
        if hasattr(ours, "refer_to"):
            ours.refer_to(reference[None])
        metadata = {"fda_metadata": [in_colour(reference)], "hm_metadata": [in_colour(reference)]}
        for seed in range(30):
            varied, expected = both(ours, stock, textured(32, seed), seed=seed, **metadata)
            assert np.abs(varied - expected).max() <= 1
