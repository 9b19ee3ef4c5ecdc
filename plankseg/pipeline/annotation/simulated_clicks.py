"""Clicks of a simulated person, answered as the assistant answers them, on the images of a store."""

from collections.abc import Callable

import numpy as np

from plankseg.config import AssistConfig
from plankseg.imaging.arrays import Mask
from plankseg.interactive.prompts import Click, Prompts
from plankseg.interactive.repair import repair_mask
from plankseg.interactive.simulated_clicks import SimulatedClicker
from plankseg.storage.store import Store

MOST_CLICKS = 5


def clicks_on(store: Store, config: AssistConfig, *, seed: int = 0) -> Callable[[str, Mask, Mask], tuple[Mask, int]]:
    """From an image's id, its pre-mask and its truth to what at most five clicks make of it, and how many those are.

    Where they do not bring it to a Dice of 0.95, the pre-mask is given back: a person then takes the brush. The clicks
    on an image depend on (seed, image id) alone.
    """
    clicker = SimulatedClicker(most_clicks=MOST_CLICKS)

    def by_clicks(image_id: str, premask: Mask, truth: Mask) -> tuple[Mask, int]:
        grey = store.catalogue.load(image_id)

        def answer(mask: Mask, click: Click) -> Mask:
            return repair_mask(grey, None, mask, Prompts((click,)), config)

        rng = np.random.default_rng([seed, int(image_id[:8], 16)])
        done = clicker.correct(premask, truth, answer, rng)
        return (premask if done.used_brush else done.mask), len(done.clicks)

    return by_clicks
