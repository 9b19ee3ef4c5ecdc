"""A click's part where the ground is even: what the mask lacks of the outline by contrast, or has beyond it.

On the white ground of a scanner the outline at local contrast is close to the one that people draw, also around what is
thin and long, which a network sees badly. On uneven ground (tissue, blood) it is not, and there it is not asked.
"""

import cv2
import numpy as np

from plankseg.imaging.arrays import Grey, Mask
from plankseg.imaging.background import border_statistics
from plankseg.imaging.threshold import automatic_mask
from plankseg.interactive.evidence import Evidence, joined_part

EVENEST_SPREAD = 2.0
"""Grey levels of the image's border: nine of ten ZooScan vignettes have 0 to 1.5, images of tissue 3 and more."""

PALEST_DROP = 2.0
"""Grey levels below the ground; what is paler is not told from its noise. Where the border's spread is 1 or more: twice
that spread."""

BESIDE_PX = 2.0
"""So near to the mask's outline what is pale is its blur."""

THIN_PX = 2.0
"""Half the width up to which all of a part belongs to any click on it: an outline that is off all around."""

THICKER = 1.5
"""What is so many times thicker than the place of the click is something else, which needs a click of its own."""


def even_ground_part(evidence: Evidence, pixel: tuple[int, int], is_positive: bool, *, most_pale: float) -> Mask | None:
    """The difference between mask and outline by contrast that is joined to `pixel` (row, column).

    None where the ground is not even, where no outline can be trusted, or where it says nothing against the mask at the
    click's pixel. What is too pale for the outline may add `most_pale` pixels; the caller bounds what the outline adds.
    """
    ground, spread = border_statistics(evidence.image)
    if spread > EVENEST_SPREAD:
        return None
    outlined = automatic_mask(evidence.image, outline="local contrast").mask
    if is_positive and evidence.depth(pixel) >= BESIDE_PX and (outlined is None or not outlined[pixel]):
        pale = _pale(evidence.image, ground, pixel, least_drop=max(PALEST_DROP, 2 * spread))
        part = None if pale is None else joined_part(pale, evidence.mask, pixel, is_positive)
        outlined = pale if part is not None and np.count_nonzero(part) <= most_pale else None
    if outlined is None or outlined[pixel] != is_positive:
        return None
    difference = joined_part(outlined == is_positive, evidence.mask, pixel, is_positive)
    return joined_part(_without_thicker(difference, pixel), evidence.mask, pixel, is_positive)


def _pale(grey: Grey, ground: float, pixel: tuple[int, int], *, least_drop: float) -> Mask | None:
    """What is darker than the ground by half of what the clicked place is: fins and jelly that no outline holds."""
    without_specks = cv2.medianBlur(np.ascontiguousarray(grey), 3)
    smooth = cv2.GaussianBlur(without_specks, (0, 0), 1.0).astype(np.float32)
    drop = ground - float(smooth[pixel])
    return smooth <= ground - drop / 2 if drop >= least_drop else None


def _without_thicker(part: Mask, pixel: tuple[int, int]) -> Mask:
    """The part without what is much thicker than it is at the pixel, and only joined to it by something thin."""
    depth = cv2.distanceTransform(np.pad(part.astype(np.uint8), 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
    reach = max(THIN_PX, THICKER * float(depth[pixel]))
    _, cores = cv2.connectedComponents((depth > reach).astype(np.uint8), connectivity=8)
    others = np.zeros(part.shape, np.uint8)
    others[cores > 0] = 1
    rows, columns = np.ogrid[: part.shape[0], : part.shape[1]]
    near = np.hypot(rows - pixel[0], columns - pixel[1]) <= reach + 1
    others[np.isin(cores, np.unique(cores[near]))] = 0
    side = 2 * int(np.ceil(reach)) + 1
    return np.asarray(part & (cv2.dilate(others, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))) == 0))
