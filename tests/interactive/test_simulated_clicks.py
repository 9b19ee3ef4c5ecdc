"""The simulated person who clicks: where, when to stop, when to take the brush."""

import numpy as np
import pytest

from plankseg.config import AssistConfig
from plankseg.errors import MaskShapeError
from plankseg.imaging.masks import dice
from plankseg.interactive.prompts import Click, Prompts
from plankseg.interactive.repair import repair_mask
from plankseg.interactive.simulated_clicks import Noise, SimulatedClicker, next_click


def truth_and_mask() -> tuple[np.ndarray, np.ndarray]:
    """A body of which the right part is missing, and a smaller piece too much."""
    truth = np.zeros((40, 60), bool)
    truth[10:31, 5:50] = True
    mask = truth.copy()
    mask[:, 36:] = False
    mask[0:5, 0:9] = True
    return truth, mask


def test_a_click_is_in_the_middle_of_the_largest_error() -> None:
    truth, mask = truth_and_mask()
    rng = np.random.default_rng(0)
    click = next_click(mask, truth, None, rng)
    assert click is not None
    assert click.is_positive
    assert 40 <= click.x_px <= 45
    assert 16 <= click.y_px <= 25
    mask |= truth
    assert next_click(mask, truth, None, rng) == Click(2.5, 2.5, False) or not mask[0, 0]
    assert next_click(truth, truth, None, rng) is None


def test_a_hasty_person_stays_on_the_image() -> None:
    truth, mask = truth_and_mask()
    rng = np.random.default_rng(0)
    clicks = [next_click(mask, truth, Noise(offset_px=30, other_share=0.5), rng) for _ in range(50)]
    pixels = [click.pixel(mask.shape) for click in clicks if click is not None]
    assert len(set(pixels)) > 10
    assert len({click.is_positive for click in clicks if click is not None}) == 2


def test_a_person_stops_when_it_is_enough_and_else_takes_the_brush() -> None:
    truth, mask = truth_and_mask()
    rng = np.random.default_rng(0)

    def answer(mask: np.ndarray, click: Click) -> np.ndarray:
        return mask | truth if click.is_positive else mask & truth

    done = SimulatedClicker().correct(mask, truth, answer, rng)
    assert dice(done.mask, truth) >= 0.95
    assert (len(done.clicks), done.used_brush) == (1, False)
    stubborn = SimulatedClicker(most_clicks=3).correct(mask, truth, lambda mask, _: mask, rng)
    assert (len(stubborn.clicks), stubborn.used_brush) == (3, True)
    assert np.array_equal(stubborn.mask, truth)
    with pytest.raises(MaskShapeError):
        SimulatedClicker().correct(mask[1:], truth, answer, rng)


def test_clicks_repair_a_plain_body() -> None:
    truth, mask = truth_and_mask()
    image = np.where(truth, 100, 220).astype(np.uint8)

    def answer(mask: np.ndarray, click: Click) -> np.ndarray:
        return repair_mask(image, None, mask, Prompts((click,)), AssistConfig())

    done = SimulatedClicker().correct(mask, truth, answer, np.random.default_rng(0))
    assert not done.used_brush
    assert len(done.clicks) <= 2
