"""Volume and surface of a body from its outline, as ecologists estimate them for carbon.

A body that is about convex is a solid of revolution around its long axis. Any other one is thick where its outline is
wide: its volume follows from the distance map (Moberg and Sosik 2012, doi 10.4319/lom.2012.10.278). Both, and the
choice between them, are those of ifcb-features 4, whose figures the tests compare; that turns a body inside of a square
which may cut off the tips of one that lies askew. Units are pixels of the image.
"""

from dataclasses import dataclass
from math import pi, sqrt
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.ndimage import binary_fill_holes

from plankseg.imaging.arrays import Mask
from plankseg.imaging.mask_metrics import outline_pixels
from plankseg.imaging.masks import largest_component
from plankseg.imaging.measures.hull import hull_of, orientation_of, sample_axes

CONVEX_RATIO = 1.2
"""A body whose hull is less than so many times its area is a solid of revolution."""
ROUND_ECCENTRICITY, ROUND_DIAMETER = 0.8, 0.8
"""So is one below this eccentricity whose equivalent diameter is above this share of its long axis."""
ANGLE_STEP = pi / 720
"""Between two points of half a slice's circle, for the surface of a solid of revolution."""

Coordinates = Float[np.ndarray, "rows columns"]
Between = Float[np.ndarray, "rows-1 columns-1"]
"""One value for each square of four neighbouring points."""


@dataclass(frozen=True, slots=True)
class Biovolume:
    """Volume in cubic pixels, surface in square pixels, mean width across the body in pixels, and how it was found."""

    volume_px3: float
    surface_px2: float
    width_px: float
    method: Literal["solid of revolution", "distance map"]


def biovolume(mask: Mask) -> Biovolume | None:
    """The volume of the largest part of a mask; None for an empty mask."""
    if not mask.any():
        return None
    body = largest_component(mask)
    rows, columns = (np.flatnonzero(body.any(axis=axis)) for axis in (1, 0))
    body = body[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return _of_revolution(_laid_flat(body)) if _is_of_revolution(body) else _of_distances(body)


def _is_of_revolution(body: Mask) -> bool:
    area = int(np.count_nonzero(body))
    if hull_of(body).area_px / area < CONVEX_RATIO:
        return True
    major, minor = sample_axes(body)
    eccentricity = sqrt(max(0.0, 1 - (minor / major) ** 2)) if major else 0.0
    return eccentricity < ROUND_ECCENTRICITY and sqrt(4 * area / pi) > ROUND_DIAMETER * major


def _laid_flat(body: Mask) -> Bool[np.ndarray, "side side"]:
    """The body turned until its long axis is horizontal, each pixel taken from the nearest.

    It lies in a square with its centroid in the middle, to a pixel, and is turned around the square's own middle.
    """
    height, width = body.shape
    row, column = (float(positions.mean()) for positions in np.nonzero(body))
    reach = max(row, height - row, column, width - column)
    side = int(np.ceil(2 * reach))
    middle_row, middle_column = ((side - 1) / 2 - np.floor(reach - at) for at in (row, column))
    angle = orientation_of(body)
    down, across = np.mgrid[:side, :side] - (side - 1) / 2
    from_row = _nearest(middle_row + np.sin(angle) * across + np.cos(angle) * down)
    from_column = _nearest(middle_column + np.cos(angle) * across - np.sin(angle) * down)
    is_inside = (from_row >= 0) & (from_row < height) & (from_column >= 0) & (from_column < width)
    turned = np.zeros((side, side), dtype=bool)
    turned[is_inside] = body[from_row[is_inside], from_column[is_inside]]
    return turned


def _nearest(positions: Coordinates) -> Int[np.ndarray, "rows columns"]:
    """The nearest pixel, of two that are equally near the lower one, whatever rounding left behind the comma."""
    return np.asarray(np.ceil(positions - 0.5 - 1e-9), dtype=int)


def _of_revolution(body: Mask) -> Biovolume:
    """Each column of a body that lies flat is the diameter of a disc; between two of them lies a truncated cone."""
    diameters = body.sum(axis=0)
    taken = diameters > 0
    radii = diameters[taken] / 2
    centres = body.argmax(axis=0)[taken] + radii
    if len(radii) > 1:
        centres[[0, -1]] = centres[[1, -2]]  # the ends of a raster body are off its axis by chance
    at = np.arange(len(radii), dtype=float)
    at[0] -= 0.5
    at[-1] += 0.5
    discs = pi * radii**2
    cones = np.diff(at) / 3 * (discs[1:] + discs[:-1] + np.sqrt(discs[1:] * discs[:-1]))
    angles = np.arange(0, pi + ANGLE_STEP / 2, ANGLE_STEP)
    y = centres[:, None] + np.cos(angles) * radii[:, None]
    z = np.sin(angles) * radii[:, None]
    half = _triangles(np.broadcast_to(at[:, None], y.shape), y, z).sum()
    surface = 2 * half + pi * (radii[0] ** 2 + radii[-1] ** 2)
    return Biovolume(float(cones.sum()), float(surface), float(2 * radii.mean()), "solid of revolution")


def _of_distances(body: Mask) -> Biovolume:
    """Moberg and Sosik's: the height over each pixel is its distance to the outline, corrected for a round section."""
    outline = outline_pixels(body)
    distances = cv2.distanceTransform((~outline).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) + 1.0
    filled = binary_fill_holes(outline)
    heights = np.where(filled, distances, 0.0)
    width = 4 * float(distances[filled].mean()) - 2
    volume = width**2 / (width**2 + 2 * width + 0.5) * pi * float(heights.sum())
    y, x = np.mgrid[: body.shape[0], : body.shape[1]].astype(float)
    correction = (pi * width / 2) / (sqrt(2) * width + (1 + sqrt(2)) / 2)
    surface = 2 * correction * float(_triangles(x, y, heights, without_ground=True).sum())
    return Biovolume(volume, surface, width, "distance map")


def _triangles(x: Coordinates, y: Coordinates, z: Coordinates, *, without_ground: bool = False) -> Between:
    """The area of the two triangles between each point of a surface and its next ones down and to the right.

    `without_ground`: those of which every corner lies at z = 0 count nothing.
    """
    points = np.stack([x, y, z], axis=-1)
    here, right, below, across = points[:-1, :-1], points[:-1, 1:], points[1:, :-1], points[1:, 1:]
    diagonal = here - across
    areas = sum(np.linalg.norm(np.cross(side, diagonal), axis=-1) / 2 for side in (here - below, right - across))
    if without_ground:
        corners = np.stack([z[:-1, :-1], z[:-1, 1:], z[1:, :-1], z[1:, 1:]])
        areas = np.where((corners == 0).all(axis=0), 0.0, areas)
    return np.asarray(areas)
