"""The 30 slim features of ifcb-features 4, under its names: what users of an Imaging FlowCytobot compare and publish.

Each is measured on the largest part of the mask; `summed...` adds up all parts. Units are pixels and degrees; volumes
are cubic pixels. The perimeter is Benkrid and Crookes' (2000), axes are those of the pixels' sample covariance.
"""

from math import degrees, pi, sqrt

import cv2
import numpy as np
from jaxtyping import Bool

from plankseg.imaging.arrays import Mask
from plankseg.imaging.mask_metrics import outline_pixels
from plankseg.imaging.measures.biovolume import biovolume
from plankseg.imaging.measures.hull import Hull, hull_of, orientation_of, sample_axes

_NEIGHBOURS = np.array([[10, 2, 10], [2, 1, 2], [10, 2, 10]], np.float32)
_STEPS = np.zeros(64)
_STEPS[[5, 7, 15, 17, 25, 27]] = 1.0
_STEPS[[21, 33]] = sqrt(2)
_STEPS[[13, 23]] = (1 + sqrt(2)) / 2
SUMMED = ("Area", "Biovolume", "ConvexArea", "ConvexPerimeter", "MajorAxisLength", "MinorAxisLength", "Perimeter")


def slim_features(mask: Mask) -> dict[str, float]:
    """The features by name, in the order of ifcb-features' tables. Raises ValueError for an empty mask."""
    if not mask.any():
        raise ValueError("An empty mask has no features. Measure only masks with an object.")
    parts = [_part(part) for part in _by_area(mask)]
    largest = parts[0]
    sums = {f"summed{name}": sum(part[name] for part in parts) for name in (*SUMMED, "SurfaceArea")}
    return {
        **largest,
        "numBlobs": float(len(parts)),
        **{name[0].lower() + name[1:]: value for name, value in sums.items()},
        "Area_over_PerimeterSquared": largest["Area"] / largest["Perimeter"] ** 2,
        "Area_over_Perimeter": largest["Area"] / largest["Perimeter"],
        "summedConvexPerimeter_over_Perimeter": sums["summedConvexPerimeter"] / sums["summedPerimeter"],
    }


def _by_area(mask: Mask) -> list[Bool[np.ndarray, "_ _"]]:
    """Each part, cut out, the largest first; of equal ones the leftmost, then the topmost."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    parts = []
    for number, (left, top, width, height, area) in enumerate(stats[1:].tolist(), 1):
        cut = labels[top : top + height, left : left + width] == number
        parts.append((-area, left, top, cut))
    return [cut for *_, cut in sorted(parts, key=lambda part: part[:3])]


def _part(part: Mask) -> dict[str, float]:
    height, width = part.shape
    area, volume, hull = int(np.count_nonzero(part)), biovolume(part), _hull(part)
    major, minor = sample_axes(part)
    assert volume is not None, "a part has pixels"
    return {
        "Area": float(area),
        "Biovolume": volume.volume_px3,
        "BoundingBox_xwidth": float(width),
        "BoundingBox_ywidth": float(height),
        "ConvexArea": hull.area_px,
        "ConvexPerimeter": hull.perimeter_px,
        "Eccentricity": sqrt(max(0.0, 1 - (minor / major) ** 2)) if major else 0.0,
        "EquivDiameter": sqrt(4 * area / pi),
        "Extent": area / (width * height),
        "MajorAxisLength": major,
        "MinorAxisLength": minor,
        "Orientation": -degrees(orientation_of(part)),
        "Perimeter": perimeter(part),
        "RepresentativeWidth": volume.width_px,
        "Solidity": area / hull.area_px,
        "SurfaceArea": volume.surface_px2,
        "maxFeretDiameter": hull.widest_px,
        "minFeretDiameter": hull.narrowest_px,
    }


def _hull(part: Mask) -> Hull:
    """The hull; of pixels in one line, which enclose nothing, area and perimeter are those of the part itself."""
    hull = hull_of(part)
    if hull.encloses_area:
        return hull
    return Hull(float(np.count_nonzero(part)), perimeter(part), hull.narrowest_px, hull.widest_px)


def perimeter(mask: Mask) -> float:
    """Length of the outline by what is beside each of its pixels (Benkrid and Crookes 2000); 1 for a single pixel."""
    outline = outline_pixels(mask).astype(np.float32)
    codes = cv2.filter2D(outline, -1, _NEIGHBOURS, borderType=cv2.BORDER_CONSTANT).round().astype(int)
    length = float(_STEPS[np.minimum(codes, len(_STEPS) - 1)].sum())
    return length or 1.0


COLUMNS: tuple[str, ...] = tuple(slim_features(np.ones((3, 3), dtype=bool)))
"""The names, in order."""
