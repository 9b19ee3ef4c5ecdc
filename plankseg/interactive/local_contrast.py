"""The part around a click that has the same grey, by a tolerance of the contrast close by."""

import cv2
import numpy as np
from jaxtyping import Float32

from plankseg.imaging.arrays import Grey, Mask
from plankseg.interactive.evidence import Evidence


def contrast_part(evidence: Evidence, pixel: tuple[int, int]) -> Mask:
    """The pixels around `pixel` (row, column) within a third of the local contrast of its grey, connected to it."""
    grey, (row, column) = evidence.image, pixel
    low, high = np.percentile(grey[_around(grey, pixel)], (5, 95))
    tolerance = max(4.0, (float(high) - float(low)) / 3)
    flooded = np.zeros((grey.shape[0] + 2, grey.shape[1] + 2), np.uint8)
    flags = 4 | cv2.FLOODFILL_MASK_ONLY | cv2.FLOODFILL_FIXED_RANGE | (1 << 8)
    cv2.floodFill(np.ascontiguousarray(grey), flooded, (column, row), 0, tolerance, tolerance, flags)
    return np.asarray(flooded[1:-1, 1:-1] == 1)


def _around(grey: Grey | Float32[np.ndarray, "h w"], pixel: tuple[int, int]) -> tuple[slice, slice]:
    reach = max(12, min(grey.shape) // 4)
    row, column = pixel
    return slice(max(0, row - reach), row + reach + 1), slice(max(0, column - reach), column + reach + 1)
