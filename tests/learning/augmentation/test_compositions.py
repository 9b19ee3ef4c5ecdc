"""Compositions: declared as data, reproducible, image and mask varied alike."""

from collections import Counter
from typing import get_args

import albumentations
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plankseg.config import TrainingConfig
from plankseg.learning.augmentation import compositions
from plankseg.learning.augmentation.compositions import (
    COMPOSITIONS,
    Composition,
    Declaration,
    Step,
    compose,
    declared_steps,
    needs_references,
)

pytestmark = pytest.mark.slow

SIDE = 48
GEOMETRIC = {"HorizontalFlip", "VerticalFlip", "RandomRotate90", "Rotate", "Affine", "GridDistortion"}


def disc_square() -> tuple[np.ndarray, np.ndarray]:
    """A dark disc off the centre on a light ground."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    cv2.circle(mask, (18, 26), 9, 1, thickness=-1)
    return np.where(mask, 30, 230).astype(np.uint8), mask.astype(bool)


def made(name: str) -> Composition:
    """The composition, with three references of noise on grounds of their own."""
    rng = np.random.default_rng(3)
    references = np.stack([rng.normal(ground, 8, (SIDE, SIDE)).clip(0, 255) for ground in (120, 180, 240)])
    return compose(name, SIDE, references.astype(np.uint8))


@pytest.mark.parametrize("name", ["basic", "affine", "domain"])
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_image_and_mask_stay_together(name, seed):
    steps = tuple(step for step in declared_steps(name) if step.transform in GEOMETRIC)
    square, mask = Composition(steps, SIDE)(*disc_square(), seed=seed)
    assert mask.any()
    dark = square < 130
    assert np.count_nonzero(dark & mask) / np.count_nonzero(dark | mask) > 0.85


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_the_dark_disc_lies_under_its_mask_and_not_beside_it(name):
    composition = made(name)
    contrast = dict.fromkeys([(0, 0), (0, 4), (4, 0), (0, -4), (-4, 0)], 0.0)
    for seed in range(60):
        square, mask = composition(*disc_square(), seed=seed)
        for shift in contrast:
            moved = np.roll(mask, shift, axis=(0, 1))
            contrast[shift] += square[~moved].mean() - square[moved].mean()
    assert contrast[0, 0] / 60 > 60
    assert all(contrast[0, 0] > other for shift, other in contrast.items() if shift != (0, 0))


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_a_seed_gives_the_same_variation_whatever_was_done_before(name):
    one, other = made(name), made(name)
    other(*disc_square(), seed=1)
    for seed in range(10):
        for first, second in zip(one(*disc_square(), seed=seed), other(*disc_square(), seed=seed), strict=True):
            np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_seeds_give_different_variations(name):
    composition = made(name)
    seen = {composition(*disc_square(), seed=seed)[0].tobytes() for seed in range(40)}
    assert len(seen) > 20


def test_steps_are_drawn_independently_of_each_other():
    flips = Composition(declared_steps("basic")[:2], SIDE)
    seen = Counter(flips(*disc_square(), seed=seed)[1].tobytes() for seed in range(200))
    assert len(seen) == 4  # not at all, left to right, upside down, both
    assert min(seen.values()) > 25


@pytest.mark.parametrize(("name", "included"), [("occlusion", "basic"), ("specialized", "domain")])
def test_what_hides_or_restyles_an_object_leaves_its_mask_as_it_was(name, included):
    varied, plain = made(name), made(included)
    changed = 0
    for seed in range(40):
        square, mask = varied(*disc_square(), seed=seed)
        before, as_it_was = plain(*disc_square(), seed=seed)
        np.testing.assert_array_equal(mask, as_it_was)
        changed += not np.array_equal(square, before)
    assert 10 < changed < 40


def test_input_is_not_changed():
    square, mask = disc_square()
    compose("affine", SIDE)(square, mask, seed=5)
    for now, before in zip((square, mask), disc_square(), strict=True):
        np.testing.assert_array_equal(now, before)


def test_each_composition_includes_the_one_before_and_affine_stands_in_for_rotate():
    steps = {name: [step.transform for step in declared_steps(name)] for name in COMPOSITIONS}
    assert steps["basic"] == ["HorizontalFlip", "VerticalFlip", "RandomRotate90", "Rotate"]
    assert steps["occlusion"] == [*steps["basic"], "CoarseDropout"]
    assert steps["affine"] == [*steps["basic"][:3], "Affine", "CoarseDropout"]
    domain = ["GridDistortion", "RandomGamma", "ISONoise", "GaussianBlur", "Downscale"]
    assert steps["domain"] == [*steps["affine"], *domain]
    assert steps["specialized"] == [*steps["domain"], "FDA", "HistogramMatching"]


def test_every_declared_step_is_a_transform_of_albumentations_with_these_parameters():
    for name in COMPOSITIONS:
        for step in declared_steps(name):
            made_of = getattr(albumentations, step.transform)
            assert issubclass(made_of, albumentations.BasicTransform)
            assert made_of(**step.parameters).invalid_args == []


def test_the_recipe_offers_the_compositions_of_the_table():
    assert get_args(TrainingConfig.model_fields["augmentation"].annotation) == tuple(COMPOSITIONS)


def test_a_replaced_step_must_be_there(monkeypatch):
    table = {**COMPOSITIONS, "odd": Declaration(includes="basic", replaces={"Affine": Step("Rotate")})}
    monkeypatch.setattr(compositions, "COMPOSITIONS", table)
    with pytest.raises(ValueError, match="replaces Affine, which 'basic' does not have"):
        declared_steps("odd")


def test_unknown_composition_and_wrong_side_are_refused():
    with pytest.raises(ValueError, match="basic, occlusion, affine, domain, specialized"):
        compose("nothing", SIDE)
    with pytest.raises(ValueError, match="32 px"):
        compose("basic", 32)(*disc_square(), seed=0)


def test_references_are_needed_by_the_last_composition_alone_and_must_fit():
    assert [name for name in COMPOSITIONS if needs_references(name)] == ["specialized"]
    with pytest.raises(ValueError, match="references of 48 px, at least one, and was given none"):
        compose("specialized", SIDE)
    with pytest.raises(ValueError, match="was given 2 x 32 x 32"):
        compose("specialized", SIDE, np.zeros((2, 32, 32), np.uint8))
    with pytest.raises(ValueError, match="was given 0 x 48 x 48"):
        compose("specialized", SIDE, np.zeros((0, SIDE, SIDE), np.uint8))
