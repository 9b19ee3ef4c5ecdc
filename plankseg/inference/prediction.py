"""The prediction of a model for one image: probability, uncertainty and agreement of the views."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32

from plankseg.imaging.arrays import Mask, Probability
from plankseg.imaging.letterbox import Letterbox
from plankseg.imaging.masks import dice
from plankseg.inference.uncertainty import SquareMap

PerView = Float[np.ndarray, "views side side"]


@dataclass(frozen=True)
class Prediction:
    """What the model predicts for one image, in the square that the network saw; properties give the image's own size.

    `square_probability` is the mean over the views, each undone. `uncertainty` is the image's score.
    """

    image_id: str
    letterbox: Letterbox
    square_probability: SquareMap
    square_uncertainty: SquareMap
    uncertainty: float
    views: Float[torch.Tensor, "views side side"] = field(repr=False, compare=False)
    """Probability in each view, undone, on the device that computed it."""

    @cached_property
    def probability(self) -> Probability:
        """Probability of the object per pixel, at the image's own size."""
        return self.letterbox.undo(self.square_probability)

    @cached_property
    def uncertainty_map(self) -> Float32[np.ndarray, "h w"]:
        """Uncertainty per pixel, at the image's own size."""
        return self.letterbox.undo(self.square_uncertainty)

    @property
    def mask(self) -> Mask:
        """The predicted object: where the mean probability of the views is at least 0.5."""
        return self.probability >= 0.5

    @cached_property
    def agreement(self) -> float | None:
        """Mean Dice of the views' masks to the mask of their mean; None for a single view."""
        return agreement_of(self.views.cpu().numpy(), self.square_probability, self.letterbox)


def agreement_of(per_view: PerView, mean: SquareMap, letterbox: Letterbox) -> float | None:
    """Mean Dice of the views' masks to the mask of their mean, on the image's own pixels; None for a single view."""
    if len(per_view) < 2:
        return None
    mean_mask: Bool[np.ndarray, "h w"] = mean[letterbox.inside] >= 0.5
    return float(np.mean([dice(view[letterbox.inside] >= 0.5, mean_mask) for view in per_view]))
