"""Repaired masks: what clicks and boxes promise, whatever the image, and errors for what does not fit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plankseg.config import AssistConfig
from plankseg.errors import MaskShapeError, PromptError
from plankseg.imaging.masks import dice
from plankseg.interactive.prompts import Box, Click, Prompts
from plankseg.interactive.repair import METHODS, repair_mask

CONFIGS = [AssistConfig(method=name) for name in METHODS]
SIZES = st.sampled_from([(1, 1), (1, 30), (30, 1), (2, 2), (17, 40), (40, 33)])


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray | None, np.ndarray, Prompts]:
    shape = draw(SIZES)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    image = rng.integers(0, 256, shape, dtype=np.uint8)
    probability = rng.random(shape, dtype=np.float32) if draw(st.booleans()) else None
    mask = rng.random(shape) < draw(st.sampled_from([0.0, 0.3, 1.0]))
    position = st.floats(0, 1)
    clicks = draw(st.lists(st.builds(Click, position, position, st.booleans()), max_size=6))
    return (
        image,
        probability,
        mask,
        Prompts(tuple(Click(c.y_px * shape[0], c.x_px * shape[1], c.is_positive) for c in clicks)),
    )


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.method)
@settings(deadline=None)
@given(case=cases())
def test_positive_pixels_are_in_negative_ones_are_not(case: tuple, config: AssistConfig) -> None:
    image, probability, mask, prompts = case
    copies = [None if array is None else array.copy() for array in (image, probability, mask)]
    answer = repair_mask(image, probability, mask, prompts, config)
    assert answer.shape == image.shape
    assert answer.dtype == bool
    wanted = {click.pixel(image.shape): click.is_positive for click in prompts.clicks}
    assert {pixel: bool(answer[pixel]) for pixel in wanted} == wanted
    for array, copy in zip((image, probability, mask), copies, strict=True):
        assert (array is None and copy is None) or np.array_equal(array, copy)
    assert np.array_equal(repair_mask(image, probability, mask, prompts, config), answer)


def scene() -> tuple[np.ndarray, np.ndarray]:
    """A dark body with a dark limb on light ground, and its true mask."""
    truth = np.zeros((60, 80), bool)
    truth[20:40, 15:45] = True
    truth[27:33, 45:65] = True
    return np.where(truth, 90, 230).astype(np.uint8), truth


def test_a_click_on_a_missing_limb_adds_it_and_one_on_debris_removes_it() -> None:
    image, truth = scene()
    image[5:12, 60:75] = 120
    mask = truth.copy()
    mask[:, 50:] = False
    mask[5:12, 60:75] = True
    for config in CONFIGS:
        answer = repair_mask(image, None, mask, Prompts((Click(30, 58, True), Click(8, 66, False))), config)
        enough = dice(mask, truth) if config.method == "disc" else 0.94
        assert dice(answer, truth) > enough, config.method


def test_what_is_not_joined_to_a_click_stays_as_it_was() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (120, 120), dtype=np.uint8)
    mask = np.zeros((120, 120), bool)
    mask[10:30, 10:30] = mask[80:110, 80:110] = True
    for config in CONFIGS:
        answer = repair_mask(image, None, mask, Prompts((Click(20, 20, False),)), config)
        assert np.array_equal(answer[60:, 60:], mask[60:, 60:]), config.method
        assert not answer[:60].any() or answer[:60].sum() < mask[:60].sum(), config.method


def test_a_hole_that_a_person_makes_is_not_filled_again() -> None:
    image, truth = scene()
    image[29:32, 29:32] = 230
    for config in CONFIGS:
        answer = repair_mask(image, None, truth, Prompts((Click(30, 30, False),)), config)
        assert (truth & ~answer).sum() > 4, config.method


def test_five_hundred_clicks_are_answered() -> None:
    image, truth = scene()
    rng = np.random.default_rng(2)
    clicks = tuple(Click(rng.uniform(0, 60), rng.uniform(0, 80), bool(rng.random() < 0.5)) for _ in range(500))
    for config in CONFIGS:
        answer = repair_mask(image, None, truth, Prompts(clicks), config)
        wanted = {click.pixel(image.shape): click.is_positive for click in clicks}
        assert all(answer[pixel] == is_positive for pixel, is_positive in wanted.items())


def test_prompts_that_are_sent_again_change_nothing() -> None:
    image, truth = scene()
    mask = truth.copy()
    mask[:, 50:] = False
    prompts = Prompts((Click(30, 58, True),))
    for config in CONFIGS:
        answer = repair_mask(image, None, mask, prompts, config)
        assert np.array_equal(repair_mask(image, None, answer, prompts, config), answer)


def test_a_box_starts_a_mask_where_there_is_none() -> None:
    image, truth = scene()
    answer = repair_mask(image, None, np.zeros_like(truth), Prompts(box=Box(15, 10, 45, 70)), AssistConfig())
    assert np.array_equal(answer, truth)


def test_small_holes_are_filled_and_large_ones_left() -> None:
    image, truth = scene()
    mask = truth.copy()
    mask[25, 20] = False
    mask[22:38, 25:40] = False
    answer = repair_mask(image, None, mask, Prompts(), AssistConfig(fill_holes_px=10))
    assert answer[25, 20]
    assert not answer[30, 30]
    assert np.array_equal(repair_mask(image, None, mask, Prompts(), AssistConfig(fill_holes_px=0)), mask)


@pytest.mark.parametrize("click", [Click(61, 5, True), Click(5, -1, True), Click(float("nan"), 5, False)])
def test_a_click_outside_the_image_is_refused(click: Click) -> None:
    image, truth = scene()
    with pytest.raises(PromptError, match="outside its image of 60 x 80"):
        repair_mask(image, None, truth, Prompts((click,)), AssistConfig())


def test_maps_of_another_size_are_refused() -> None:
    image, truth = scene()
    with pytest.raises(MaskShapeError, match="The mask is 60 x 79"):
        repair_mask(image, None, truth[:, 1:], Prompts(), AssistConfig())
    with pytest.raises(MaskShapeError, match="The probability is 59 x 80"):
        repair_mask(image, np.zeros((59, 80), np.float32), truth, Prompts(), AssistConfig())
