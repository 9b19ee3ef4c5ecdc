"""Compositions: declared as data, reproducible, image and mask varied alike."""

import albumentations
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plankseg.learning.augment import COMPOSITIONS, compose, declared_steps

pytestmark = pytest.mark.slow

SIDE = 48


def disc_square() -> tuple[np.ndarray, np.ndarray]:
    """A dark disc off the centre on a light ground."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    cv2.circle(mask, (18, 26), 9, 1, thickness=-1)
    return np.where(mask, 30, 230).astype(np.uint8), mask.astype(bool)


@pytest.mark.parametrize("name", COMPOSITIONS)
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_image_and_mask_stay_together(name, seed):
    square, mask = compose(name, SIDE)(*disc_square(), seed=seed)
    assert mask.any()
    dark = square < 130
    assert np.count_nonzero(dark & mask) / np.count_nonzero(dark | mask) > 0.85


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_a_seed_gives_the_same_variation_whatever_was_done_before(name):
    one, other = compose(name, SIDE), compose(name, SIDE)
    other(*disc_square(), seed=1)
    for first, second in zip(one(*disc_square(), seed=7), other(*disc_square(), seed=7), strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_seeds_give_different_variations(name):
    composition = compose(name, SIDE)
    seen = {composition(*disc_square(), seed=seed)[0].tobytes() for seed in range(40)}
    assert len(seen) > 20


def test_input_is_not_changed():
    square, mask = disc_square()
    compose("affine", SIDE)(square, mask, seed=5)
    for now, before in zip((square, mask), disc_square(), strict=True):
        np.testing.assert_array_equal(now, before)


def test_affine_is_basic_with_affine_instead_of_rotation():
    basic = [step.transform for step in declared_steps("basic")]
    assert [step.transform for step in declared_steps("affine")] == [*basic[:-1], "Affine"]
    assert basic[-1] == "Rotate"


def test_every_declared_step_is_a_transform_of_albumentations():
    for name in COMPOSITIONS:
        for step in declared_steps(name):
            assert issubclass(getattr(albumentations, step.transform), albumentations.BasicTransform)


def test_unknown_composition_and_wrong_side_are_refused():
    with pytest.raises(ValueError, match="basic, affine"):
        compose("nothing", SIDE)
    with pytest.raises(ValueError, match="32 px"):
        compose("basic", 32)(*disc_square(), seed=0)
