"""The simulated person's clicks are answered by what answers a person's, and depend on the image alone."""

from pathlib import Path

import numpy as np

from plankseg.config import AssistConfig
from plankseg.imaging.masks import dice
from plankseg.pipeline.annotation.simulated_clicks import MOST_CLICKS, clicks_on
from plankseg.storage.store import Store
from tests.support.browser_session import propose


def image_of_two_discs() -> tuple[np.ndarray, np.ndarray]:
    """Two dark discs on a light ground, and the mask of both."""
    rows, columns = np.mgrid[:80, :120]
    near = [(rows - 40) ** 2 + (columns - across) ** 2 < 18**2 for across in (35, 85)]
    truth = near[0] | near[1]
    noise = np.random.default_rng(0).integers(0, 12, truth.shape)
    return np.where(truth, 70 + noise, 225 + noise).astype(np.uint8), truth


def test_what_is_missing_is_clicked_and_what_clicks_cannot_mend_is_left_to_the_brush(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    grey, truth = image_of_two_discs()
    ((image_id, _),) = propose(store, tmp_path, {"discs": (grey, truth)}).values()
    by_clicks = clicks_on(store, AssistConfig(), seed=1)
    premask = truth.copy()
    premask[:, 60:] = False
    mask, clicks = by_clicks(image_id, premask, truth)
    assert dice(premask, truth) < 0.7
    assert dice(mask, truth) >= 0.95
    assert 1 <= clicks <= MOST_CLICKS
    again, as_many = by_clicks(image_id, premask, truth)
    np.testing.assert_array_equal(again, mask)
    assert as_many == clicks
    chequered = np.indices(truth.shape).sum(axis=0) % 2 == 0  # no click means every second pixel
    left, clicks = by_clicks(image_id, premask, chequered)
    np.testing.assert_array_equal(left, premask)
    assert clicks == MOST_CLICKS


def test_a_mask_that_is_right_needs_no_click(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    grey, truth = image_of_two_discs()
    ((image_id, _),) = propose(store, tmp_path, {"discs": (grey, truth)}).values()
    _, clicks = clicks_on(store, AssistConfig())(image_id, truth, truth)
    assert clicks == 0
