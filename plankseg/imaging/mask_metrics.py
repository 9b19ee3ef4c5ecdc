"""Mask metrics beside overlap: boundary F measure, recall of thin parts, area error.

Dice hardly sees what a plankton person looks at first: an outline that is a few pixels off all around, an antenna that
is missing. An empty truth is a case of its own in each measure, and stated there.
"""

import cv2
import numpy as np
from jaxtyping import Bool
from skimage.morphology import skeletonize

from plankseg.imaging.arrays import Mask
from plankseg.imaging.masks import dice, require_same_shape

_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
_SQUARE = np.ones((3, 3), np.uint8)
_SHORTEST_PX = 3


def boundary_f(predicted: Mask, truth: Bool[np.ndarray, "rows columns"], *, tolerance_px: float = 2.0) -> float:
    """F measure of the outlines, 0 to 1: an outline pixel is right within `tolerance_px` (Euclid) of the other outline.

    The outline is the object's own pixels with a 4-neighbour outside, and those at the image's border. Both masks
    empty: 1; one of them: 0. (Csurka et al. 2013, with outlines instead of regions.) Raises MaskShapeError.
    """
    require_same_shape(predicted, truth)
    ours, theirs = outline_pixels(predicted), outline_pixels(truth)
    if not ours.any() or not theirs.any():
        return float(ours.any() == theirs.any())
    precision = _share_near(ours, theirs, tolerance_px)
    recall = _share_near(theirs, ours, tolerance_px)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def dice_off_outline(predicted: Mask, truth: Bool[np.ndarray, "rows columns"], *, ignored_px: float = 2.0) -> float:
    """Dice without the pixels within `ignored_px` (Euclid) of the true outline, on both of its sides.

    Where exactly a blurred edge is drawn is a convention: a pixel more or less all around a small object costs 0.05 of
    plain Dice, and nothing here. The image's border is no outline. Nothing left in both masks: 1.
    Raises MaskShapeError.
    """
    require_same_shape(predicted, truth)
    inside, outside = (
        cv2.distanceTransform(side.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) for side in (truth, ~truth)
    )
    counted = np.where(truth, inside, outside) > ignored_px + 1e-6
    return dice(predicted & counted, truth & counted)


def thin_part_recall(predicted: Mask, truth: Bool[np.ndarray, "rows columns"]) -> float | None:
    """How much of the truth's thin parts is found: the share of their skeleton that `predicted` covers, 0 to 1.

    Thin is where no 3 x 3 square fits (morphological opening), so antennae, setae and tails of less than 3 px; what is
    shorter than 3 px along its skeleton is a bump, not a part. None where the truth has no thin part, also where it is
    empty. Raises MaskShapeError.
    """
    require_same_shape(predicted, truth)
    skeleton = thin_skeleton(truth)
    there = int(np.count_nonzero(skeleton))
    return int(np.count_nonzero(skeleton & predicted)) / there if there else None


def area_error(predicted: Mask, truth: Bool[np.ndarray, "rows columns"]) -> float | None:
    """(predicted - true area) / true area, above 0 for a mask that is too large; -1 for an empty one.

    Both empty: 0. Only the truth empty: None, for there is nothing to relate the error to. Raises MaskShapeError.
    """
    require_same_shape(predicted, truth)
    ours, theirs = int(np.count_nonzero(predicted)), int(np.count_nonzero(truth))
    if theirs:
        return (ours - theirs) / theirs
    return None if ours else 0.0


def outline_pixels(mask: Mask) -> Mask:
    """The object's pixels that touch the outside at a side, the image's border counted as outside."""
    inner = cv2.erode(mask.astype(np.uint8), _CROSS, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return np.asarray(mask & (inner == 0))


def thin_skeleton(mask: Mask) -> Mask:
    """The skeleton of the object's parts that no 3 x 3 square fits into, in pieces of 3 px at least."""
    padded = np.pad(mask.astype(np.uint8), 2)  # what lies outside the image is no object
    opened = cv2.morphologyEx(padded, cv2.MORPH_OPEN, _SQUARE)[2:-2, 2:-2]
    thin = (skeletonize(mask) & (opened == 0)).astype(np.uint8)
    _, pieces, stats, _ = cv2.connectedComponentsWithStats(thin, connectivity=8)
    long_enough = stats[:, cv2.CC_STAT_AREA] >= _SHORTEST_PX
    long_enough[0] = False  # the background
    return np.asarray(long_enough[pieces])


def _share_near(pixels: Mask, others: Mask, distance_px: float) -> float:
    """The share of the pixels that have one of the others within the distance."""
    to_others = cv2.distanceTransform((~others).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return float(np.mean(to_others[pixels] <= distance_px + 1e-6))
