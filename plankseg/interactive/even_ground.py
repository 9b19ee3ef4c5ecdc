"""A click's part where the ground is even: what the mask lacks of the outline by contrast, or has beyond it.

On the white ground of a scanner the outline at local contrast is close to the one that people draw, also around what is
thin and long, which a network sees badly. On uneven ground (tissue, blood) it is not, and there it is not asked.
"""

import cv2
import numpy as np

from plankseg.imaging.arrays import Grey, Mask
from plankseg.imaging.background import border_pixels, border_statistics
from plankseg.imaging.masks import fill_small_holes
from plankseg.imaging.threshold import automatic_mask
from plankseg.interactive.evidence import Evidence, joined_part

EVENEST_SPREAD = 2.0
"""Grey levels of the image's border: nine of ten ZooScan vignettes have 0 to 1.5, images of tissue 3 and more."""

WHITE, EVENEST_LIGHT = 240, 1.5
"""Grey levels. In a small vignette the object's blur reaches the border. Where an object is started there, the ground
is even if the lightest quarter of the border is white and spreads by no more than that. With a mask that is there
already the rule made more of them worse (nuclei on white ground: 5 % after one click)."""

PALEST_DROP = 2.0
"""Grey levels below the ground; what is paler is not told from its noise. Where the border's spread is 1 or more: twice
that spread."""

BESIDE_PX = 2.0
"""So near to the mask's outline what is pale is its blur."""

THIN_PX = 2.0
"""Half the width up to which all of a part belongs to any click on it: an outline that is off all around."""

HOLE_SHARE = 0.3
"""Of a pale part's area: larger holes stay open, as inside of a ring."""

WIDEST_BLUR_PX = 6.0
"""A scanner blurs an edge over 4 to 6 px."""

THICKER = 1.5
"""What is so many times thicker than the place of the click is something else, which needs a click of its own."""


def even_ground_part(evidence: Evidence, pixel: tuple[int, int], is_positive: bool, *, most_pale: float) -> Mask | None:
    """The difference between mask and outline by contrast that is joined to `pixel` (row, column).

    None where the ground is not even, where no outline can be trusted, or where it says nothing against the mask at the
    click's pixel. What is too pale for the outline may add `most_pale` pixels; the caller bounds what the outline adds.
    """
    ground, spread = border_statistics(evidence.image)
    if not evidence.mask.any():
        ground, spread = _ground_beside_blur(evidence.image, ground, spread)
    if spread > EVENEST_SPREAD:
        return None
    outlined = automatic_mask(evidence.image, outline="local contrast").mask
    if is_positive and evidence.depth(pixel) >= BESIDE_PX and (outlined is None or not outlined[pixel]):
        pale = _pale(evidence.image, ground, pixel, least_drop=max(PALEST_DROP, 2 * spread))
        part = None if pale is None else _pale_part(pale, evidence, pixel)
        outlined = part if part is not None and np.count_nonzero(part) <= most_pale else None
    if outlined is None or outlined[pixel] != is_positive:
        return None
    difference = joined_part(outlined == is_positive, evidence.mask, pixel, is_positive)
    return joined_part(_without_thicker(difference, pixel), evidence.mask, pixel, is_positive)


def _ground_beside_blur(grey: Grey, ground: float, spread: float) -> tuple[float, float]:
    """Grey and spread of white ground where an object's blur reaches the border; else the two as they are."""
    border = np.sort(border_pixels(grey))
    lightest = border[border.size * 3 // 4 :]
    middle = float(np.median(lightest))
    light_spread = 1.4826 * float(np.median(np.abs(lightest - middle)))
    is_better = spread > EVENEST_SPREAD and middle >= WHITE and light_spread <= EVENEST_LIGHT
    return (middle, light_spread) if is_better else (ground, spread)


def _pale(grey: Grey, ground: float, pixel: tuple[int, int], *, least_drop: float) -> Mask | None:
    """What is darker than the ground by half of what the clicked place is: fins and jelly that no outline holds."""
    without_specks = cv2.medianBlur(np.ascontiguousarray(grey), 3)
    smooth = cv2.GaussianBlur(without_specks, (0, 0), 1.0).astype(np.float32)
    drop = ground - float(smooth[pixel])
    return smooth <= ground - drop / 2 if drop >= least_drop else None


def _pale_part(pale: Mask, evidence: Evidence, pixel: tuple[int, int]) -> Mask:
    """What of the pale pixels the click adds: those joined to it, their small holes, and not the blur of the mask."""
    most_px = int(HOLE_SHARE * np.count_nonzero(joined_part(pale, evidence.mask, pixel, is_positive=True)))
    part = joined_part(fill_small_holes(pale, most_px), evidence.mask, pixel, is_positive=True)
    return _without_blur(part, evidence, pixel)


def _without_blur(part: Mask, evidence: Evidence, pixel: tuple[int, int]) -> Mask:
    """The part without the blur along the mask: strips near it that are much thinner than the part is at the pixel.

    Nothing is left out where that would cut off what reaches farther from the mask than any blur: an arm.
    """
    reach = int(min(WIDEST_BLUR_PX, _thickness(part, pixel)) / 2)
    if reach < 2 or not evidence.mask.any():
        return part
    side = 2 * reach + 1
    padded = np.pad(part.astype(np.uint8), side)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    opened = cv2.morphologyEx(padded, cv2.MORPH_OPEN, disc)[side:-side, side:-side]
    strips = part & (cv2.dilate(opened, np.ones((3, 3), np.uint8)) == 0)
    kept = joined_part(part & ~strips, evidence.mask, pixel, is_positive=True)
    is_cut = bool((part & ~kept & (evidence.distance < -WIDEST_BLUR_PX)).any())
    return part if is_cut else kept


def _without_thicker(part: Mask, pixel: tuple[int, int]) -> Mask:
    """The part without what is much thicker than it is at the pixel, and only joined to it by something thin."""
    reach = max(THIN_PX, THICKER * _thickness(part, pixel))
    depth = _depth(part)
    _, cores = cv2.connectedComponents((depth > reach).astype(np.uint8), connectivity=8)
    others = np.zeros(part.shape, np.uint8)
    others[cores > 0] = 1
    others[np.isin(cores, np.unique(cores[_radius(part, pixel) <= reach + 1]))] = 0
    side = 2 * int(np.ceil(reach)) + 1
    return np.asarray(part & (cv2.dilate(others, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))) == 0))


def _depth(part: Mask) -> np.ndarray:
    """Distance of each of the part's pixels to what is outside of it; the image's border is outside."""
    return np.asarray(cv2.distanceTransform(np.pad(part.astype(np.uint8), 1), cv2.DIST_L2, 5)[1:-1, 1:-1])


def _radius(part: Mask, pixel: tuple[int, int]) -> np.ndarray:
    rows, columns = np.ogrid[: part.shape[0], : part.shape[1]]
    return np.asarray(np.hypot(rows - pixel[0], columns - pixel[1]))


def _thickness(part: Mask, pixel: tuple[int, int]) -> float:
    """The radius of the largest disc inside of the part that holds the pixel.

    It is the local thickness of Hildebrand and Ruegsegger (1997, J. Microsc. 185): on a tail that widens slowly it is
    not that of the clicked place alone.
    """
    depth, radius = _depth(part), _radius(part, pixel)
    return float(depth[(radius < depth) | (radius == 0)].max())
