"""Size and grey levels of an object as ZooProcess measures them, under its names, and how sharp the image is.

ZooProcess (Gorsky and others 2010, doi 10.1093/plankt/fbp124) works in ImageJ, and measures everything inside of an
object's outline, holes included; 0 is black. Mean, mode, median, standard deviation, skewness and kurtosis are those of
ImageJ's `ImageStatistics`. Lengths are in pixels, areas in square pixels, grey levels from 0 to 255.
"""

from math import pi, sqrt

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from plankseg.errors import MaskShapeError
from plankseg.imaging.arrays import Grey, Mask
from plankseg.imaging.masks import fill_holes
from plankseg.imaging.shape import ellipse_axes, feret_diameter

AROUND_PX = 3
"""Sharpness is looked for as far outside of the outline: scans blur an edge over four to six pixels."""
SMOOTHING_PX = 1.0


def zooprocess_features(mask: Bool[np.ndarray, "mask_h mask_w"], grey: Grey) -> dict[str, float]:
    """The measures by name. Raises ValueError for an empty mask, MaskShapeError where the image has another size."""
    if not mask.any():
        raise ValueError("An empty mask has no features. Measure only masks with an object.")
    if mask.shape != grey.shape:
        raise MaskShapeError(f"The mask is {mask.shape} but its image is {grey.shape} (rows, columns). Make it again.")
    whole = fill_holes(mask)
    area, without_holes = int(np.count_nonzero(whole)), int(np.count_nonzero(mask))
    rows, columns = (np.flatnonzero(whole.any(axis=axis)) for axis in (1, 0))
    long, short = ellipse_axes(whole)
    # ImageJ's ellipse has the area of the object; pixels in one line have none of a width.
    scale = sqrt(area / (pi / 4 * long * short)) if short else 1.0
    return {
        "area": float(area),
        "area_exc": float(without_holes),
        "%area": 100 * (1 - without_holes / area),
        "esd": sqrt(4 * area / pi),
        "width": float(columns[-1] - columns[0] + 1),
        "height": float(rows[-1] - rows[0] + 1),
        "major": long * scale,
        "minor": short * scale,
        "feret": feret_diameter(whole),
        **grey_levels(grey[whole]),
        "focus": focus(grey, whole),
    }


def grey_levels(pixels: UInt8[np.ndarray, " n"]) -> dict[str, float]:
    """Statistics of an object's grey levels, at least one.

    `stddev` is that of a sample, skewness and excess kurtosis are those of all pixels; 0 where all are alike. `median`
    is a grey level; of equally frequent ones the darkest is the `mode`.
    """
    counts = np.bincount(pixels, minlength=256)
    levels, number = np.arange(256, dtype=float), len(pixels)
    mean = float(counts @ levels) / number
    second, third, fourth = (float(counts @ (levels - mean) ** power) / number for power in (2, 3, 4))
    low, high = int(pixels.min()), int(pixels.max())
    return {
        "mean": mean,
        "stddev": sqrt(second * number / (number - 1)) if number > 1 else 0.0,
        "mode": float(counts.argmax()),
        "min": float(low),
        "max": float(high),
        "range": float(high - low),
        "median": float(np.argmax(np.cumsum(counts) > number / 2)),
        "intden": float(counts @ levels),
        "skew": third / second**1.5 if low < high else 0.0,
        "kurt": fourth / second**2 - 3 if low < high else 0.0,
    }


def focus(grey: Grey, whole: Mask) -> float:
    """Sharpness within an object and `AROUND_PX` around it, per square pixel; 0 if all is even.

    It is the energy of the Laplacian by that of the gradient, as PlanktoScope's segmenter has it since 2026: size and
    contrast of the object cancel out. The image is smoothed first (Gauss, 1 px), so that its noise counts less; edges
    that are blurred by s px then give about 1 / (2 (s² + 1)).
    """
    near = cv2.dilate(whole.astype(np.uint8), np.ones((2 * AROUND_PX + 1,) * 2, np.uint8)).astype(bool)
    light = cv2.GaussianBlur(grey.astype(np.float64), (0, 0), SMOOTHING_PX)
    laplacian = cv2.Laplacian(light, cv2.CV_64F, ksize=1)
    across, down = (cv2.Sobel(light, cv2.CV_64F, dx, 1 - dx, ksize=3, scale=1 / 8) for dx in (1, 0))
    gradient = float((across[near] ** 2 + down[near] ** 2).sum())
    return float((laplacian[near] ** 2).sum()) / gradient if gradient else 0.0


COLUMNS: tuple[str, ...] = tuple(zooprocess_features(np.ones((3, 3), dtype=bool), np.zeros((3, 3), dtype=np.uint8)))
"""The names, in order."""
