"""Epochs and image size of each round's training: base values first, then growing with every round."""

import math
from dataclasses import dataclass

from plankseg.config import TrainingConfig
from plankseg.imaging.framing import Framing


@dataclass(frozen=True)
class RoundPlan:
    """Epochs of one training and the side of its squares in pixels."""

    epochs: int
    side_px: int
    largest_zoom: float | None = None

    @property
    def framing(self) -> Framing:
        """How images are laid into squares."""
        return Framing(self.side_px, self.largest_zoom)


WARM_UP = 0.05
"""Share of a training during which the rate rises."""


def cosine_rate(highest: float, progress: float) -> float:
    """The learning rate after a share `progress` (0 to 1) of the training: a linear rise, then half a cosine to 0."""
    if progress < WARM_UP:
        return highest * progress / WARM_UP
    fallen = (progress - WARM_UP) / (1 - WARM_UP)
    return highest * 0.5 * (1 + math.cos(math.pi * min(fallen, 1.0)))


def plan_round(training: TrainingConfig, round_number: int) -> RoundPlan:
    """The plan of round n: growth counts from `grow_from_round` on; round 0 is model 0, which has the base plan.

    Raises ValueError when the round is below 0.
    """
    if round_number < 0:
        raise ValueError(f"Round {round_number} cannot be planned: model 0 is round 0, the first corrections round 1.")
    steps = 0 if round_number == 0 else max(0, round_number - training.grow_from_round + 1)
    return RoundPlan(
        epochs=training.epochs + steps * training.epochs_per_round,
        side_px=training.side_px + steps * training.side_px_per_round,
        largest_zoom=training.largest_zoom,
    )
