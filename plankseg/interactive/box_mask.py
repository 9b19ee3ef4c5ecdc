"""The first mask of a box: what the image's contrast and the model's probability say is inside."""

import cv2
import numpy as np

from plankseg.imaging.arrays import Grey, Mask
from plankseg.imaging.masks import dice, fill_holes, largest_component
from plankseg.imaging.threshold import automatic_mask, otsu_mask
from plankseg.interactive.evidence import Evidence

AGREEMENT = 0.5
"""From this Dice on the two mean the same object, and the outline by contrast is the sharper one."""


def box_mask(evidence: Evidence, window: tuple[slice, slice]) -> Mask:
    """The best guess inside of the window (rows, columns), empty outside of it, and never empty inside."""
    by_contrast = _by_contrast(evidence.image[window])
    inside = by_contrast
    if evidence.probability is not None:
        believed = fill_holes(largest_component(evidence.probability[window] >= 0.5))
        agrees = dice(believed, by_contrast) >= AGREEMENT
        if not agrees and believed.any() and not believed.all():
            inside = believed
    if not inside.any() or inside.all():
        inside = _ellipse(inside.shape)
    mask = np.zeros_like(evidence.mask)
    mask[window] = inside
    return mask


def _by_contrast(grey: Grey) -> Mask:
    found = automatic_mask(np.ascontiguousarray(grey), outline="local contrast").mask
    return otsu_mask(grey) if found is None else found


def _ellipse(shape: tuple[int, ...]) -> Mask:
    height, width = shape
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, height)) > 0)
