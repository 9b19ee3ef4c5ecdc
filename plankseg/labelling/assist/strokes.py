"""Strokes of a draft: Label Studio saves what was painted last as paths, and as pixels only when it is submitted."""

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from plankseg.errors import BrushError
from plankseg.imaging.arrays import Mask
from plankseg.labelling.api.words import shortened

_SHIFT = 4  # OpenCV takes coordinates in sixteenths of a pixel
FARTHEST = 1000.0  # per cent: no stroke reaches farther
UNREADABLE = (
    "A stroke of the draft cannot be read ({}), so the mask is unchanged. Submit, open the task again and click."
)


def paint_strokes(strokes: object, mask: Mask) -> Mask:
    """The mask with a draft's strokes added and erased, in their order; edges to about a pixel. Raises BrushError."""
    if not isinstance(strokes, list) or not all(isinstance(stroke, Mapping) for stroke in strokes):
        raise BrushError(UNREADABLE.format(shortened(strokes)))
    pixels = mask.astype(np.uint8)
    for stroke in strokes:
        _paint(stroke, pixels)
    return pixels > 0


def _paint(stroke: Mapping[str, Any], pixels: np.ndarray) -> None:
    height, width = pixels.shape
    numbers, thickness = stroke.get("relativePoints"), stroke.get("relativeStrokeWidth")
    if numbers is None or not _are_per_cent(numbers) or not _are_per_cent([thickness]) or len(numbers) % 2:
        raise BrushError(UNREADABLE.format(shortened(dict(stroke))))
    points = np.array(numbers, dtype=float).reshape(-1, 2) / 100 * (width, height) - 0.5
    path = np.round(points * 2**_SHIFT).astype(np.int32)[:, None]
    wide = max(1, round(float(thickness) / 100 * width))  # type: ignore[arg-type]  # checked above
    value = 0 if stroke.get("type") == "eraser" else 1
    cv2.polylines(pixels, [path], isClosed=False, color=value, thickness=wide, shift=_SHIFT)


def _are_per_cent(numbers: object) -> bool:
    return (
        isinstance(numbers, Sequence)
        and bool(numbers)
        and all(
            isinstance(number, int | float) and not isinstance(number, bool) and abs(number) <= FARTHEST
            for number in numbers
        )
    )
