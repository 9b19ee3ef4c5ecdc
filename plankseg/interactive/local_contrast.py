"""A click's part without a network: what has its grey, or the disc around it."""

import cv2
import numpy as np

from plankseg.imaging.arrays import Mask
from plankseg.interactive.evidence import Evidence

SMALLEST_TOLERANCE = 4.0
"""Grey levels: below it noise would bound the part."""


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
