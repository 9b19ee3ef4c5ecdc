"""Automatic masks of clean images by grey threshold, or the reason for having none.

The rules of the traditional method, and a rejection wherever they are in doubt: an image without a mask costs nothing,
a wrong mask teaches the network something wrong.
"""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Int

from plankseg.imaging.arrays import Grey, Mask
from plankseg.imaging.background import background_kind, border_pixels, border_statistics, find_footer, is_dark_field
from plankseg.imaging.masks import drop_small_parts, fill_holes, largest_component

ERASED_BELOW = 251
MIN_DROP = 8.0
DROP_IN_DEVIATIONS = 4.0
DROP_IN_CONTRAST = 0.15
OTSU_OUTSIDE = (0.001, 0.80)
MAX_HOLE_SHARE = 0.01
RIVAL_SHARE = 0.5
MIN_CONTRAST = 12.0
SEVERAL_OBJECTS = "several objects"  # how the reason for no mask begins
MIN_AREA_PX = 60
MAX_BORDER_CONTACT = 0.25
MAX_SECOND_SHARE = 0.30
MAX_AREA_ERROR = 0.10
FIXED_LEVEL = 243
OUTLINE_DROP = 9.0
OUTLINE_SHARE = 0.25
OUTLINE_REACH_PX = 4
OUTLINE_SMALLEST_PART = 0.05
_REACH = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * OUTLINE_REACH_PX + 1, 2 * OUTLINE_REACH_PX + 1))
_DISK_2 = np.array([[0, 0, 1, 0, 0], [0, 1, 1, 1, 0], [1, 1, 1, 1, 1], [0, 1, 1, 1, 0], [0, 0, 1, 0, 0]], np.uint8)


@dataclass(frozen=True)
class AutomaticMask:
    """A mask of the whole image (footer rows included, empty there), or else the reason why there is none.

    `dark_field` says that the object was looked for as bright on black.
    """

    mask: Mask | None
    reason: str | None
    kind: Literal["erased", "kept"]
    footer_rows: int
    dark_field: bool = False

    def __post_init__(self) -> None:
        assert (self.mask is None) != (self.reason is None), "a mask or a reason, never both"


Outline = Literal["level", "local contrast"]
"""Where an object ends: at one grey level for the image, or at a quarter of the contrast close by."""


@dataclass(frozen=True)
class _Object:
    """The chosen component, and the area of the largest other one."""

    mask: Mask
    second_px: int


def automatic_mask(grey: Grey, *, instrument_area_px: float | None = None, outline: Outline = "level") -> AutomaticMask:
    """The object's mask by grey level, or the reason for rejecting the image. Never raises on an image's content.

    `instrument_area_px` is the area that the instrument itself measured, in pixels of this image; None: unknown.

    The outline at a quarter of the local contrast (`outline_at_local_contrast`) is the one that people draw around the
    blurred objects of a scanner: on 42 real vignettes it took the Dice from 0.908 to 0.969 (docs/quality.md).
    """
    footer_rows = find_footer(grey)
    body = grey[: grey.shape[0] - footer_rows]
    dark_field = is_dark_field(body)
    if dark_field:
        body = np.asarray(255 - body)
    kind = background_kind(body)
    found = _too_pale(body) or (_find_object(body, kind) if outline == "level" else _find_by_local_contrast(body))
    reason = found if isinstance(found, str) else _rejection_reason(found, instrument_area_px)
    if isinstance(found, str) or reason is not None:
        return AutomaticMask(mask=None, reason=reason, kind=kind, footer_rows=footer_rows, dark_field=dark_field)
    mask = np.zeros(grey.shape, dtype=bool)
    mask[: body.shape[0]] = found.mask
    return AutomaticMask(mask=mask, reason=None, kind=kind, footer_rows=footer_rows, dark_field=dark_field)


def fixed_threshold_mask(grey: Grey, *, level: int = FIXED_LEVEL) -> Mask:
    """The largest part below a fixed grey level, filled; empty where all is lighter."""
    return fill_holes(largest_component(grey < level))


def outline_at_local_contrast(grey: Grey, mask: Mask, *, ground: float) -> Mask:
    """The mask without the halo of blur around it: pixels with at least a quarter of the contrast close by.

    A scanner blurs an edge over 4 to 6 px. One grey level for all of an image includes the whole blur around a dark
    body and loses half of a pale one. So a pixel belongs to the object if its own darkness (`ground` less grey) is at
    least a quarter of the largest within 4 px of it. Parts below a twentieth of the largest are dropped, holes filled.
    """
    darkness = np.maximum(ground - grey.astype(np.float32), 0.0)
    close_by = cv2.dilate(darkness, _REACH)
    return fill_holes(drop_small_parts(mask & (darkness > OUTLINE_SHARE * close_by), OUTLINE_SMALLEST_PART))


def otsu_mask(grey: Grey) -> Mask:
    """The largest part of Otsu's dark class (Otsu 1979), filled."""
    level, _ = cv2.threshold(np.ascontiguousarray(grey), 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    return fill_holes(largest_component(grey <= level))


def _too_pale(body: Grey) -> str | None:
    low, high = np.percentile(body, (5, 95))
    if high - low >= MIN_CONTRAST:
        return None
    seen = f"nine pixels of ten lie within {high - low:.0f} grey levels"
    return f"too little contrast: {seen}, at least {MIN_CONTRAST:.0f} needed"


def _find_object(body: Grey, kind: Literal["erased", "kept"]) -> _Object | str:
    dark = body < (ERASED_BELOW if kind == "erased" else _kept_level(body))
    closed = cv2.morphologyEx(dark.astype(np.uint8), cv2.MORPH_CLOSE, _DISK_2)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(closed, connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    if areas.size == 0:
        return "no object: no pixel is darker than the background"
    chosen = int(areas.argmax()) if kind == "erased" else _nearest_to_centre(stats[1:], body.shape)
    others = np.delete(areas, chosen)
    return _Object(_fill_small_holes(np.asarray(labels == chosen + 1)), int(others.max(initial=0)))


def _find_by_local_contrast(body: Grey) -> _Object | str:
    ground, spread = border_statistics(body)
    dark = body < ground - max(OUTLINE_DROP, DROP_IN_DEVIATIONS * spread)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(dark.astype(np.uint8), connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    if areas.size == 0:
        return f"no object: no pixel is darker than the image's border, whose median is {ground:.0f}"
    chosen = _nearest_to_centre(stats[1:], body.shape)
    whole = fill_holes(np.asarray(labels == chosen + 1))
    return _Object(outline_at_local_contrast(body, whole, ground=ground), int(np.delete(areas, chosen).max(initial=0)))


def _kept_level(body: Grey) -> float:
    """The grey below which a pixel is darker than its background: the border's median less a drop, else Otsu's level.

    The drop exceeds the background's noise (4 deviations) and the halo that blur and JPEG leave around an object, a
    share of the object's own contrast: 15 % of it took scancol24 from Dice 0.767 to 0.909, WBC from 0.938 to 0.956.
    """
    median, spread = border_statistics(body)
    contrast = median - float(np.percentile(body, 2))
    level = median - max(MIN_DROP, DROP_IN_DEVIATIONS * spread, DROP_IN_CONTRAST * contrast)
    share = float((body < level).mean())
    if OTSU_OUTSIDE[0] <= share <= OTSU_OUTSIDE[1]:
        return level
    otsu, _ = cv2.threshold(np.ascontiguousarray(body), 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    return float(otsu) + 1  # Otsu's dark class includes its level


def _nearest_to_centre(stats: Int[np.ndarray, "n 5"], shape: tuple[int, ...]) -> int:
    """Of the components at least half as large as the largest, the one whose bounding box is centred best.

    A vignette is cut around its object's bounding box, so the box tells more than the centre of mass.
    """
    areas = stats[:, cv2.CC_STAT_AREA]
    y = stats[:, cv2.CC_STAT_TOP] + stats[:, cv2.CC_STAT_HEIGHT] / 2 - shape[0] / 2
    x = stats[:, cv2.CC_STAT_LEFT] + stats[:, cv2.CC_STAT_WIDTH] / 2 - shape[1] / 2
    return int(np.where(areas >= RIVAL_SHARE * areas.max(), np.hypot(y, x), np.inf).argmin())


def _fill_small_holes(mask: Mask) -> Mask:
    """Holes of at most 1 % of the object's area belong to it; larger ones are openings between its limbs."""
    most = MAX_HOLE_SHARE * np.count_nonzero(mask)
    _, labels, stats, _ = cv2.connectedComponentsWithStats((~mask).astype(np.uint8), connectivity=4)
    top, left = stats[:, cv2.CC_STAT_TOP], stats[:, cv2.CC_STAT_LEFT]
    bottom, right = top + stats[:, cv2.CC_STAT_HEIGHT], left + stats[:, cv2.CC_STAT_WIDTH]
    closed = (top > 0) & (left > 0) & (bottom < mask.shape[0]) & (right < mask.shape[1])
    small = closed & (stats[:, cv2.CC_STAT_AREA] <= most)
    small[0] = False  # label 0 is the object itself
    return np.asarray(mask | small[labels])


def _rejection_reason(found: _Object, instrument_area_px: float | None) -> str | None:
    """The first reason not to trust the mask, with its values, or None."""
    area = int(np.count_nonzero(found.mask))
    if area < MIN_AREA_PX:
        return f"too small: area {area} px (limit {MIN_AREA_PX} px)"
    contact = float(border_pixels(found.mask.view(np.uint8)).mean())
    if contact > MAX_BORDER_CONTACT:
        return (
            f"cut off: the object covers {100 * contact:.1f} % of the image's border (limit "
            f"{100 * MAX_BORDER_CONTACT:.0f} %)"
        )
    if found.second_px > MAX_SECOND_SHARE * area:
        return (
            f"{SEVERAL_OBJECTS}: another is {100 * found.second_px / area:.1f} % of the chosen one"
            f" (limit {100 * MAX_SECOND_SHARE:.0f} %)"
        )
    if instrument_area_px is not None and abs(area - instrument_area_px) > MAX_AREA_ERROR * instrument_area_px:
        return (
            f"not the instrument's object: {area} px, the instrument measured {instrument_area_px:.0f},"
            f" a difference of {100 * MAX_AREA_ERROR:.0f} % is allowed"
        )
    return None
