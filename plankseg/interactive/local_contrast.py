"""A click's part without a network: what has its grey, or the disc around it; and what greys say of any part."""

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from plankseg.imaging.arrays import Mask
from plankseg.interactive.evidence import Evidence

SMALLEST_TOLERANCE = 4.0
"""Grey levels: below it noise would bound the part."""

MOST_ODDS = 3.0
"""No grey is surer than that; a part has few pixels."""

GREYS_A_BIN = 4
FEWEST_PX = 12
"""Of object and of ground: from fewer no grey is judged."""


def contrast_part(evidence: Evidence, pixel: tuple[int, int], is_positive: bool) -> Mask:
    """The pixels joined to `pixel` (row, column) whose grey is within a third of the local contrast of its own."""
    grey, (row, column) = evidence.image, pixel
    reach = max(12, min(grey.shape) // 4)
    around = grey[max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1]
    low, high = np.percentile(around, (5, 95))
    tolerance = max(SMALLEST_TOLERANCE, (float(high) - float(low)) / 3)
    flooded = np.zeros((grey.shape[0] + 2, grey.shape[1] + 2), np.uint8)
    flooded[1:-1, 1:-1] = evidence.mask == is_positive  # what agrees with the click already bounds its part
    flags = 4 | cv2.FLOODFILL_MASK_ONLY | cv2.FLOODFILL_FIXED_RANGE | (2 << 8)
    cv2.floodFill(np.ascontiguousarray(grey), flooded, (column, row), 0, tolerance, tolerance, flags)
    return np.asarray(flooded[1:-1, 1:-1] == 2)


def disc_part(evidence: Evidence, pixel: tuple[int, int], is_positive: bool) -> Mask:  # noqa: ARG001
    """The largest disc around `pixel` that does not reach the mask's outline: people click into an error's middle."""
    rows, columns = np.ogrid[: evidence.image.shape[0], : evidence.image.shape[1]]
    radius = np.hypot(rows - pixel[0], columns - pixel[1])
    return np.asarray(radius <= max(0.5, evidence.depth(pixel)))


def grey_votes(evidence: Evidence, part: Mask, is_positive: bool) -> Float32[np.ndarray, "h w"]:
    """The log-odds of each pixel's grey for being changed by the click, were `part` what it means; 0: not known.

    Greys of the object, with the part or without it, against those of the ground.
    """
    thing = evidence.mask | part if is_positive else evidence.mask & ~part
    votes = np.zeros(thing.shape, np.float32)
    if min(np.count_nonzero(thing), np.count_nonzero(~thing)) < FEWEST_PX:
        return votes
    grey = cv2.GaussianBlur(evidence.image, (0, 0), 0.7) // GREYS_A_BIN
    odds = np.clip(np.log(_shares(grey[thing])) - np.log(_shares(grey[~thing])), -MOST_ODDS, MOST_ODDS)
    return np.asarray((odds if is_positive else -odds)[grey], np.float32)


def _shares(greys: UInt8[np.ndarray, " n"]) -> Float32[np.ndarray, " bins"]:
    """The share of each bin of greys, smoothed; none is 0."""
    bins = 256 // GREYS_A_BIN
    counts = np.bincount(greys, minlength=bins).astype(np.float32)
    smooth = cv2.GaussianBlur(counts[None], (0, 0), 1.5)[0] + 0.5
    return np.asarray(smooth / smooth.sum(), np.float32)
