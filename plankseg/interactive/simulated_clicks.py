"""A simulated person who repairs a mask by clicks: into the middle of the largest error, as people do."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool

from plankseg.imaging.arrays import Mask
from plankseg.imaging.masks import dice
from plankseg.interactive.prompts import Click


@dataclass(frozen=True)
class Noise:
    """How a hasty person clicks: beside the middle, and sometimes into another error than the largest."""

    offset_px: float = 5.0
    other_share: float = 0.1


@dataclass(frozen=True)
class ClickedMask:
    """What became of a mask: after how many clicks, and whether the rest was left to the brush."""

    mask: Mask
    clicks: tuple[Click, ...]
    used_brush: bool


@dataclass(frozen=True)
class SimulatedClicker:
    """Clicks until the mask has a Dice of `enough_dice` to the truth; after `most_clicks` it takes the brush."""

    enough_dice: float = 0.95
    most_clicks: int = 5
    noise: Noise | None = None

    def correct(
        self,
        mask: Mask,
        truth: Bool[np.ndarray, "_ _"],
        answer: Callable[[Mask, Click], Mask],
        rng: np.random.Generator,
    ) -> ClickedMask:
        """The corrected mask: the answer to the last click where that is enough, else the truth, by brush.

        `answer` gives the mask that a click makes of the mask so far. Raises MaskShapeError where sizes differ.
        """
        clicks: list[Click] = []
        while dice(mask, truth) < self.enough_dice:
            if len(clicks) == self.most_clicks:
                return ClickedMask(truth.copy(), tuple(clicks), used_brush=True)
            click = next_click(mask, truth, self.noise, rng)
            assert click is not None, "a mask that is not enough has an error"
            clicks.append(click)
            mask = answer(mask, click)
        return ClickedMask(mask, tuple(clicks), used_brush=False)


def next_click(
    mask: Mask, truth: Bool[np.ndarray, "_ _"], noise: Noise | None, rng: np.random.Generator
) -> Click | None:
    """A click into the largest wrong component, where it is farthest from its edge; None where nothing is wrong.

    With noise it may be another component, and it is `offset_px` off in any direction, still on the image.
    """
    parts = [(truth & ~mask, True), (mask & ~truth, False)]
    found = []
    for wrong, is_positive in parts:
        _, labels, stats, _ = cv2.connectedComponentsWithStats(wrong.astype(np.uint8), connectivity=8)
        areas = stats[1:, cv2.CC_STAT_AREA]
        found += [(int(area), is_positive, labels, number) for number, area in enumerate(areas, start=1)]
    if not found:
        return None
    found.sort(key=lambda part: -part[0])  # stable: of equals the first in reading order, missing before too much
    is_other = noise is not None and rng.random() < noise.other_share
    _, is_positive, labels, number = found[int(rng.integers(len(found)))] if is_other else found[0]
    depth = cv2.distanceTransform(np.pad((labels == number).astype(np.uint8), 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    y, x = row + 0.5, column + 0.5
    if noise is not None:
        angle = rng.uniform(0, 2 * np.pi)
        y = np.clip(y + noise.offset_px * np.sin(angle), 0, mask.shape[0])
        x = np.clip(x + noise.offset_px * np.cos(angle), 0, mask.shape[1])
    return Click(float(y), float(x), is_positive)
