"""Outlines of a mask along the edges of its pixels: rings that give the mask again, to the pixel, holes included.

Contours through the middles of pixels (OpenCV, skimage) lose half a pixel all around; these lose nothing. A pixel in
row r and column c covers x from c to c + 1 and y from r to r + 1, as in ImageJ, QuPath and SVG.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Int
from skimage.draw import polygon

from plankseg.imaging.arrays import Mask

Ring = Int[np.ndarray, "_ 2"]
"""Corners x, y, closed by going back to the first: on the screen clockwise around an object, else around a hole."""

_STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))  # right, down, left, up


@dataclass(frozen=True)
class Outline:
    """One 4-connected part of a mask: its outer ring and those of its holes."""

    outer: Ring
    holes: tuple[Ring, ...] = ()


def outlines_of(mask: Mask) -> list[Outline]:
    """The parts of a mask, in the order of their first pixels; none of an empty mask."""
    _, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    rings: dict[int, list[Ring]] = {}
    edges = _edges(mask)
    for start in sorted(edges, key=lambda corner: (corner[1], corner[0])):  # the topmost corner of each ring is simple
        while start in edges:
            ring, (column, row) = _ring_from(start, edges)
            rings.setdefault(int(labels[row, column]), []).append(ring)
    found = []
    for label in sorted(rings):
        outer = [ring for ring in rings[label] if _doubled_area(ring) > 0]
        holes = tuple(ring for ring in rings[label] if _doubled_area(ring) < 0)
        assert len(outer) == 1, "a connected part has one outer ring"
        found.append(Outline(outer[0], holes))
    return found


def filled(rings: list[np.ndarray], shape: tuple[int, int]) -> Mask:
    """The mask inside of rings of corners x, y by the even-odd rule: True where a pixel's middle lies inside."""
    mask = np.zeros(shape, dtype=bool)
    for ring in rings:
        inside = np.zeros(shape, dtype=bool)
        corners = np.asarray(ring, dtype=float)
        inside[polygon(corners[:, 1] - 0.5, corners[:, 0] - 0.5, shape)] = True
        mask ^= inside
    return mask


def _edges(mask: Mask) -> dict[tuple[int, int], list[int]]:
    """Directed edges between object and ground, the object on their right: their steps by the corner they begin at."""
    padded = np.pad(mask, 1)
    inner = padded[1:-1, 1:-1]
    # Of each step: where the pixel's edge of that direction is an outline, and which corner of the pixel it begins at.
    outer = (padded[:-2, 1:-1], padded[1:-1, 2:], padded[2:, 1:-1], padded[1:-1, :-2])
    corners = ((0, 0), (1, 0), (1, 1), (0, 1))
    edges: dict[tuple[int, int], list[int]] = {}
    for step, (beside, (right, down)) in enumerate(zip(outer, corners, strict=True)):
        rows, columns = np.nonzero(inner & ~beside)
        for column, row in zip((columns + right).tolist(), (rows + down).tolist(), strict=True):
            edges.setdefault((column, row), []).append(step)
    return edges


def _ring_from(start: tuple[int, int], edges: dict[tuple[int, int], list[int]]) -> tuple[Ring, tuple[int, int]]:
    """Take one ring out of the edges: its corners, and the pixel to the right of its first edge."""
    at, step = start, edges[start][0]
    pixel = _pixel_on_the_right(at, step)
    corners: list[tuple[int, int]] = []
    last = -1
    while at in edges:
        steps = edges[at]
        # Where two pixels touch by a corner only, the ring turns right: it stays with its own pixel.
        step = (last + 1) % 4 if last >= 0 and len(steps) == 2 else steps[0]
        steps.remove(step)
        if not steps:
            del edges[at]
        if step != last:
            corners.append(at)
        at, last = (at[0] + _STEPS[step][0], at[1] + _STEPS[step][1]), step
        if at == start:
            break
    return np.array(corners, dtype=np.int64), pixel


def _pixel_on_the_right(corner: tuple[int, int], step: int) -> tuple[int, int]:
    """Column and row of the pixel on the right of an edge."""
    offsets = ((0, 0), (-1, 0), (-1, -1), (0, -1))
    return corner[0] + offsets[step][0], corner[1] + offsets[step][1]


def _doubled_area(ring: Ring) -> int:
    x, y = ring[:, 0], ring[:, 1]
    return int((x * np.roll(y, -1) - np.roll(x, -1) * y).sum())
