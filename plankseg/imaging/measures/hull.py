"""The convex hull of an object and its direction, as ifcb-features measure them."""

from dataclasses import dataclass
from math import atan2, sqrt

import cv2
import numpy as np

from plankseg.imaging.arrays import Mask
from plankseg.imaging.mask_metrics import outline_pixels
from plankseg.imaging.shape import ellipse_axes


@dataclass(frozen=True, slots=True)
class Hull:
    """The hull of the middles of an object's pixels: `area_px` has half a pixel more all around, so that a square of
    n x n pixels has about n squared. `narrowest_px` and `widest_px` are its extents over all directions in steps of a
    degree, pixels counted whole.
    """

    area_px: float
    perimeter_px: float
    narrowest_px: float
    widest_px: float

    @property
    def encloses_area(self) -> bool:
        """False where all pixels lie in one line."""
        return self.area_px > self.perimeter_px / 2


def hull_of(mask: Mask) -> Hull:
    """The hull of all that is True. Raises ValueError for an empty mask."""
    rows, columns = np.nonzero(outline_pixels(mask))
    if not rows.size:
        raise ValueError("An empty mask has no hull. Measure only masks with an object.")
    corners = cv2.convexHull(np.stack([columns, rows], axis=1).astype(np.int32))
    x, y = corners[:, 0].T.astype(float)
    perimeter = float(np.hypot(np.diff(x, append=x[0]), np.diff(y, append=y[0])).sum())
    area = float(cv2.contourArea(corners.astype(np.float32))) + perimeter / 2
    angles = np.deg2rad(np.arange(360))
    along = np.outer(np.cos(angles), x) - np.outer(np.sin(angles), y)
    extents = np.ptp(along, axis=1) + np.abs(np.cos(angles)) + np.abs(np.sin(angles))
    return Hull(area, perimeter, float(extents.min()), float(extents.max()))


def sample_axes(mask: Mask) -> tuple[float, float]:
    """Major and minor axis of the ellipse with the pixels' sample covariance; both 0 for a single pixel."""
    area = int(np.count_nonzero(mask))
    if area < 2:
        return 0.0, 0.0
    correction = sqrt(area / (area - 1))
    major, minor = ellipse_axes(mask)
    return correction * major, correction * minor


def orientation_of(mask: Mask) -> float:
    """Angle of the long axis from the image's x axis, downwards positive, above -pi / 2 and up to pi / 2."""
    moments = cv2.moments(mask.astype(np.uint8), binaryImage=True)
    return atan2(2 * moments["mu11"], moments["mu20"] - moments["mu02"]) / 2
