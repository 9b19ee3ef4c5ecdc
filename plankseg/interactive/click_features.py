"""What the click network sees: image, probability and mask around a click, and how all of it lies to the click."""

import cv2
import numpy as np
from jaxtyping import Float32

from plankseg.interactive.evidence import Evidence

CHANNELS = 9
SMALLEST_RANGE = 12.0
"""Grey levels; a window with fewer is not stretched further, for its noise would look like an object."""


def click_features(
    evidence: Evidence, pixel: tuple[int, int], *, is_positive: bool
) -> Float32[np.ndarray, "channels h w"]:
    """The maps of one click at `pixel` (row, column), each of the evidence's size, in about -1 to 1.

    Grey, stretched to its 1st and 99th percentile; probability; mask; distance to the mask's outline; nearness to the
    click at 3 px, at 15 px and at the click's own distance from the outline; kind of the click; grey beside the
    click's.
    """
    grey = evidence.image.astype(np.float32)
    low, high = np.percentile(grey, (1, 99))
    span = max(float(high - low), SMALLEST_RANGE)
    stretched = (grey - (low + high) / 2) / span
    distance = evidence.distance
    rows, columns = np.ogrid[: grey.shape[0], : grey.shape[1]]
    radius = np.hypot(rows - pixel[0], columns - pixel[1]).astype(np.float32)
    reach = 2 * max(1.0, evidence.depth(pixel))
    probability = np.full_like(grey, 0.5) if evidence.probability is None else evidence.probability
    clicked = float(cv2.blur(stretched, (3, 3), borderType=cv2.BORDER_REPLICATE)[pixel])
    maps = (
        stretched,
        probability,
        evidence.mask,
        np.tanh(distance / 4),
        np.exp(-radius / 3),
        np.exp(-radius / 15),
        np.exp(-radius / reach),
        np.full_like(grey, 1.0 if is_positive else -1.0),
        np.clip(2 * (stretched - clicked), -2, 2),
    )
    return np.stack([np.asarray(values, np.float32) for values in maps])
