"""Masks that formats find hard: empty, full, with holes, in parts that touch by a corner, with odd names."""

from typing import Any

import numpy as np
from matplotlib.path import Path as DrawnPath

from plankseg.formats.mask_record import MaskRecord
from plankseg.imaging.arrays import Mask


def odd_masks() -> dict[str, Mask]:
    """Masks by the relative path of their image."""
    ring = np.zeros((9, 12), dtype=bool)
    ring[1:8, 2:9] = True
    ring[3:6, 4:7] = False
    ring[4, 5] = True
    corners = np.eye(7, 5, dtype=bool)
    noise = np.random.default_rng(0).random((23, 31)) < 0.4
    return {
        "copepod/1.png": np.ones((4, 6), dtype=bool),
        "copepod/2.jpg": ring,
        "salp, tête <ü>/it's 100%.png": corners,
        "salp/noise.tif": noise,
        "empty.png": np.zeros((5, 3), dtype=bool),
        "one.png": np.ones((1, 1), dtype=bool),
    }


def record(path: str, mask: Mask, **fields: Any) -> MaskRecord:
    """A record of a model's mask, unless other fields say so."""
    given: dict[str, Any] = {"image_id": "a" * 64, "origin": "model", "status": "usable", "score": 0.9} | fields
    return MaskRecord(path=path, mask=mask, read_image=lambda: b"", **given)


def by_matplotlib(rings: list[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """The mask inside of rings by the even-odd rule, filled by a program that is not ours."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    middles = np.stack([columns.ravel() + 0.5, rows.ravel() + 0.5], axis=1)
    found = np.zeros(len(middles), dtype=bool)
    for ring in rings:
        found ^= DrawnPath(np.vstack([ring, ring[:1]]), closed=True).contains_points(middles)
    return found.reshape(shape)
