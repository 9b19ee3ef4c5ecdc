"""Shape of the object in a mask: area, perimeter, axes, Feret diameter, in pixels.

All parts of the mask are measured together, as one object. Perimeter, axes and filled area are those of
`skimage.measure.regionprops`. The Feret diameter is the largest distance between corners of its pixels, as ImageJ
measures it and as the archives' own tables hold it; skimage's goes by the middles of edges, is within a pixel of that,
and needs a second and 100 MB for an image of 2,000 px where this needs a hull of some hundred points.
"""

from dataclasses import dataclass
from math import pi, sqrt

import cv2
import numpy as np
from jaxtyping import Float, Int
from skimage.measure import regionprops

from plankseg.imaging.arrays import Grey, Mask

Corners = Int[np.ndarray, "n 2"]


@dataclass(frozen=True, slots=True)
class ShapeMeasures:
    """Size and shape in pixels; an empty mask has areas of 0 and no lengths.

    `esd_px` is the diameter of the disc of the same area. `parts` are 8-connected.
    """

    area_px: int
    filled_area_px: int
    parts: int
    touches_border: bool
    perimeter_px: float | None = None
    major_axis_px: float | None = None
    minor_axis_px: float | None = None
    feret_px: float | None = None
    esd_px: float | None = None

    @property
    def empty(self) -> bool:
        """True when nothing was found."""
        return self.area_px == 0


def measure_shape(mask: Mask) -> ShapeMeasures:
    """Measure everything that is True in the mask as one object."""
    if not mask.any():
        return ShapeMeasures(area_px=0, filled_area_px=0, parts=0, touches_border=False)
    parts = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)[0] - 1
    object_ = regionprops(mask.astype(np.uint8))[0]
    area = int(object_.area)
    major, minor = ellipse_axes(mask)
    return ShapeMeasures(
        area_px=area,
        filled_area_px=int(object_.area_filled),
        parts=parts,
        touches_border=bool(mask[[0, -1]].any() or mask[:, [0, -1]].any()),
        perimeter_px=float(object_.perimeter),
        major_axis_px=major,
        minor_axis_px=minor,
        feret_px=feret_diameter(mask),
        esd_px=sqrt(4 * area / pi),
    )


def ellipse_axes(mask: Mask) -> tuple[float, float]:
    """Major and minor axis of the ellipse with the object's second moments, from whole numbers.

    skimage's are the same up to rounding, but sum by BLAS, whose last digit depends on its number of threads.
    """
    moments = {name: int(value) for name, value in cv2.moments(mask.astype(np.uint8), binaryImage=True).items()}
    area = moments["m00"]
    along_x = (area * moments["m20"] - moments["m10"] ** 2) / area**2
    along_y = (area * moments["m02"] - moments["m01"] ** 2) / area**2
    both = (area * moments["m11"] - moments["m10"] * moments["m01"]) / area**2
    mean, half = (along_x + along_y) / 2, sqrt(((along_x - along_y) / 2) ** 2 + both**2)
    return 4 * sqrt(mean + half), 4 * sqrt(max(mean - half, 0.0))


def feret_diameter(mask: Mask) -> float:
    """The largest distance between two corners of the object's pixels. Raises ValueError for an empty mask."""
    if not mask.any():
        raise ValueError("An empty mask has no Feret diameter. Measure only masks with an object.")
    hull = cv2.convexHull(_outer_corners(mask).astype(np.int32))[:, 0]
    rows, columns = (hull[:, axis, None].astype(float) - hull[:, axis] for axis in (0, 1))
    return float(np.sqrt(rows**2 + columns**2).max())


def _outer_corners(mask: Mask) -> Corners:
    """The corners of the first and the last pixel of each row: the hull needs no others."""
    rows = np.flatnonzero(mask.any(axis=1))
    first = mask[rows].argmax(axis=1)
    behind = mask.shape[1] - mask[rows, ::-1].argmax(axis=1)
    corners = [np.stack([rows + down, edge], axis=1) for down in (0, 1) for edge in (first, behind)]
    return np.asarray(np.concatenate(corners))


def expected_dice(mask: Mask, probability: Float[np.ndarray, "h w"]) -> float | None:
    """The Dice that the mask would have if the probabilities were right: 2 sum(p in the mask) / (sum(mask) + sum(p)).

    Borges and others 2024 (arXiv 2402.10665) call it the soft Dice confidence. None for an empty mask, which has no
    Dice to expect.
    """
    area = int(np.count_nonzero(mask))
    if area == 0:
        return None
    return float(2 * probability[mask].sum(dtype=np.float64) / (area + probability.sum(dtype=np.float64)))


def without_background(grey: Grey, mask: Mask) -> Grey:
    """The image with 255 outside the mask; whole where the mask is empty, since nothing is known of the object."""
    return np.where(mask, grey, np.uint8(255)) if mask.any() else grey.copy()
