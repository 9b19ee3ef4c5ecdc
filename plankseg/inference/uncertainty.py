"""Uncertainty measures: disagreement of the views per pixel, and its mean over an image.

The measures take the probabilities of all views, undone, as (views, n, h, w) and give one map per image, (n, h, w).
Each pixel is a Bernoulli variable: object or not. Entropies are in nats. The means reduce a map to one number; they
read the image's own pixels only, not the padding of the letterbox.
"""

from collections.abc import Callable, Mapping

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8

from plankseg.config import Measure
from plankseg.imaging.arrays import Mask
from plankseg.imaging.letterbox import Letterbox
from plankseg.imaging.threshold import automatic_mask

Views = Float[torch.Tensor, "views n h w"]
"""Probability of the object, 0 to 1, in the image's frame."""

Maps = Float[torch.Tensor, "n h w"]
"""Uncertainty per pixel."""

SquareMap = Float[np.ndarray, "side side"]
"""One image's map in the square that the network saw."""


SquareGrey = UInt8[np.ndarray, "side side"]
"""One image's pixels in that square."""


def variance(probabilities: Views) -> Maps:
    """Variance over the views, 0 to 0.25: the published measure. Divided by the number of views, not one less."""
    return (probabilities - probabilities.mean(0)).square().mean(0)


def entropy(probabilities: Views) -> Maps:
    """Entropy of the mean over the views, 0 to ln 2: high where the views disagree or where all are in doubt."""
    return _binary_entropy(probabilities.mean(0))


def jsd(probabilities: Views) -> Maps:
    """Jensen-Shannon divergence of the views, 0 to ln 2: entropy of the mean *minus* mean of the entropies.

    High only where the views disagree; a doubt that all views share counts nothing. Negative rounding errors become 0.
    """
    return (_binary_entropy(probabilities.mean(0)) - _binary_entropy(probabilities).mean(0)).clamp_min(0.0)


def mask_disagreement(probabilities: Views) -> Maps:
    """Share of the views whose mask is another than that of their mean, 0 to 1.

    An image's number by this measure is not the mean of the map, but 1 less the mean Dice of the views' masks to the
    mask of their mean: a small object counts as much as a large one.
    """
    return ((probabilities >= 0.5) != (probabilities.mean(0) >= 0.5)).float().mean(0)


MEASURES: Mapping[Measure, Callable[[Views], Maps]] = {
    "variance": variance,
    "entropy": entropy,
    "jsd": jsd,
    "dice": mask_disagreement,
}
"""The measures that read the views alone."""


def conventional_disagreement(probability: SquareMap, pixels: SquareGrey, letterbox: Letterbox) -> SquareMap:
    """How far the mean of the views is from the automatic mask at the local contrast, 0 to 1.

    Where the automatic mask of an image is rejected, how far the mean is from the nearer of 0 and 1: 0 to 0.5. The
    padding, of which there is no automatic mask, is 0. The automatic mask is made at the scale that the network sees.
    """
    automatic = automatic_mask(np.ascontiguousarray(pixels[letterbox.inside]), outline="local contrast").mask
    own = probability[letterbox.inside]
    expected = (own >= 0.5) if automatic is None else automatic
    found = np.zeros_like(probability)
    found[letterbox.inside] = np.abs(own - expected)
    return found


def mean_inside(uncertainty: SquareMap, letterbox: Letterbox) -> float:
    """Mean over the image's own pixels; what stands in the padding has no influence."""
    return float(uncertainty[letterbox.inside].mean(dtype=np.float64))


def mean_in_band(uncertainty: SquareMap, probability: SquareMap, letterbox: Letterbox, band_px: int) -> float:
    """Mean over the image's own pixels within `band_px` of the predicted outline, on both sides of it.

    The outline runs where the probability crosses 0.5; `band_px` counts pixels of the square. Without an outline
    (no pixel is predicted as object, or every one) there is no band, and the mean is that of all the image's own
    pixels: such an image stays comparable, for a flat map has the same mean over any region.
    """
    own = uncertainty[letterbox.inside]
    band = _band(probability[letterbox.inside] >= 0.5, band_px)
    return float((own[band] if band.any() else own).mean(dtype=np.float64))


def _band(mask: Mask, band_px: int) -> Mask:
    """Pixels whose nearest pixel of the other kind is at most `band_px` away; none where there is one kind only."""
    if mask.all() or not mask.any():
        return np.zeros_like(mask)
    distances = (
        cv2.distanceTransform(side.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) for side in (mask, ~mask)
    )
    to_other_kind = np.maximum(*distances)  # each is 0 on the other kind's pixels
    return np.asarray(to_other_kind <= band_px + 1e-3)  # OpenCV takes roots in float32


def _binary_entropy(probability: Float[torch.Tensor, "*shape"]) -> Float[torch.Tensor, "*shape"]:
    return torch.add(torch.special.entr(probability), torch.special.entr(1.0 - probability))
