"""Objects of other training images pasted beside an object, as ground: what touches it is not part of it.

The images of a clean source hold one object each, those of a noisy target several. A network that never saw two
takes every dark thing for the object. (Copy-paste of Ghiasi et al. 2021, where the pasted object is not labelled.)
"""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

MOST_NEIGHBOURS = 4
SCALES = (0.6, 1.5)
"""Size of a pasted object, relative to its own."""
DENSITIES = (0.5, 1.5)
"""Optical density of a pasted object, relative to its own."""
MOST_HIDDEN = 0.3
"""A place where more of the pasted object would lie behind the image's own is not taken."""
TRIALS = 8
"""Places that are tried for each pasted object."""

Square = UInt8[np.ndarray, "side side"]
SquareMask = Bool[np.ndarray, "side side"]


def paste_neighbours(
    square: Square, mask: SquareMask, others: Sequence[tuple[np.ndarray, np.ndarray]], rng: np.random.Generator
) -> Square:
    """The square with one to four objects of `others` beside its own, each scaled, turned, paler or darker.

    `others` are squares with their masks, of any side. The own object lies in front and keeps every pixel; a pasted
    one darkens the ground, so its shadow and noise stay. An object for which no place is found is left out.
    """
    transmission = np.ones(square.shape, np.float32)
    taken = mask.copy()
    for _ in range(int(rng.integers(1, MOST_NEIGHBOURS + 1))):
        patch, shape = _varied(*others[int(rng.integers(len(others)))], rng)
        for _ in range(TRIALS if shape.any() else 0):
            top, left = (
                int(rng.integers(-part // 2, side - part // 2))
                for part, side in zip(shape.shape, square.shape, strict=True)
            )
            inside, part = _overlap(square.shape, shape.shape, top, left)
            if np.count_nonzero(taken[inside] & shape[part]) <= MOST_HIDDEN * np.count_nonzero(shape):
                transmission[inside] = np.minimum(transmission[inside], patch[part])
                taken[inside] |= shape[part]
                break
    transmission[mask] = 1
    return np.asarray(np.rint(square * transmission), dtype=np.uint8)


def _varied(
    square: np.ndarray, mask: np.ndarray, rng: np.random.Generator
) -> tuple[Float32[np.ndarray, "rows columns"], Bool[np.ndarray, "rows columns"]]:
    """An object's transmission (1 outside of it) and its shape, cut out, turned, scaled, paler or darker."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        return np.ones((1, 1), np.float32), np.zeros((1, 1), bool)
    cut = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    ground = max(1.0, float(np.median(square[~mask]))) if not mask.all() else 255.0
    patch = np.where(mask[cut], np.clip(square[cut] / ground, 1 / 255, 1), 1).astype(np.float32)
    patch = np.rot90(patch, int(rng.integers(4)))
    patch = patch[:, ::-1] if rng.random() < 0.5 else patch
    scale, density = rng.uniform(*SCALES), rng.uniform(*DENSITIES)
    size = tuple(max(1, round(side * scale)) for side in patch.shape[::-1])
    patch = cv2.resize(
        np.ascontiguousarray(patch), size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    )
    patch = patch**density
    return patch.astype(np.float32), patch < 1


def _overlap(
    shape: tuple[int, ...], part: tuple[int, ...], top: int, left: int
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where a part at (top, left), which may reach over the border, lies in the whole; and which of it does."""
    starts = top, left
    inside = tuple(
        slice(max(0, at), min(side, at + length)) for at, side, length in zip(starts, shape, part, strict=True)
    )
    own = tuple(slice(where.start - at, where.stop - at) for where, at in zip(inside, starts, strict=True))
    return (inside[0], inside[1]), (own[0], own[1])
