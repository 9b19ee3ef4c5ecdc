"""Refinement of a mask's outline on the image: where the grey passes between inside and outside, as they are close by.

A network that looks at a large object in a small square draws an outline that is right to some pixels of the image.
Close to it the image says more: a pixel that differs from the outside by more than a share of the local contrast
belongs to the object. The local means are those of localized region-based contours (Lankton and Tannenbaum 2008, IEEE
TIP 17), with one step instead of a flow.
"""

import cv2
import numpy as np

from plankseg.imaging.arrays import Grey, Mask

LEAST_CONTRAST = 6.0
"""In grey levels: with less between inside and outside the image says nothing, and the mask stays."""
LEAST_SHARE = 0.01
"""Of a window's pixels that must be sure ones of a side, so that their mean means something."""


def refine_outline(mask: Mask, grey: Grey, *, reach_px: int, share: float) -> Mask:
    """The mask with the pixels within `reach_px` of its outline decided by their grey.

    Inside and outside are known beyond that reach; their local means are taken over a window of four times the reach.
    A pixel in between is object if it differs from the outside by more than `share` (0 to 1) of the difference between
    both, whichever of them is darker. Where one side is missing close by (a thin part, the image's border), or both are
    alike, the mask stays.
    """
    if not mask.any():
        return mask
    within_reach = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach_px + 1, 2 * reach_px + 1))
    painted, values = mask.astype(np.uint8), grey.astype(np.float32)
    inside, outside = cv2.erode(painted, within_reach) > 0, cv2.dilate(painted, within_reach) == 0
    (inner, is_inner_known), (outer, is_outer_known) = (
        _local_mean(values, side, window_px=4 * reach_px + 1) for side in (inside, outside)
    )
    contrast = outer - inner
    is_decided = is_inner_known & is_outer_known & (np.abs(contrast) > LEAST_CONTRAST) & ~inside & ~outside
    is_object = (outer - values) * np.sign(contrast) > share * np.abs(contrast)
    return np.asarray(np.where(is_decided, is_object, mask), dtype=bool)


def _local_mean(values: np.ndarray, side: Mask, *, window_px: int) -> tuple[np.ndarray, np.ndarray]:
    """The mean of the values of one side's pixels in a window around each pixel, and where there are enough of them."""
    weight = side.astype(np.float32)
    count, total = (
        cv2.boxFilter(plane, -1, (window_px, window_px), borderType=cv2.BORDER_REFLECT)
        for plane in (weight, weight * values)
    )
    return total / np.maximum(count, 1e-6), count > LEAST_SHARE
