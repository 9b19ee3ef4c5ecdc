"""The mask that the regions on Label Studio's screen show."""

from typing import Any

import numpy as np
from label_studio_sdk.converter.brush import decode_rle


def painted(regions: list[dict[str, Any]], shape: tuple[int, int]) -> np.ndarray:
    """The mask of the painted regions on the screen, by Label Studio's own decoder."""
    mask = np.zeros(shape, dtype=bool)
    for region in regions:
        if "rle" in region["value"]:
            mask |= decode_rle(region["value"]["rle"]).reshape(*shape, 4)[..., 3] >= 128
    return mask
