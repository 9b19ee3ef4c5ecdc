"""Background of a vignette: border grey levels, erased or kept, ZooProcess scale bar."""

from typing import Literal

import numpy as np
from jaxtyping import UInt8

from plankseg.imaging.arrays import Grey


def border_pixels(grey: Grey) -> UInt8[np.ndarray, " n"]:
    """The outermost ring, one pixel wide, each pixel once: the best sample of its background."""
    if min(grey.shape) <= 2:
        return grey.ravel()
    return np.concatenate([grey[0], grey[-1], grey[1:-1, 0], grey[1:-1, -1]])


def border_statistics(grey: Grey) -> tuple[float, float]:
    """Median of the border's grey, and its spread: the standard deviation that its median deviation stands for."""
    border = border_pixels(grey)
    median = float(np.median(border))
    return median, 1.4826 * float(np.median(np.abs(border - median)))


DARK_BORDER = 48
DARK_SPREAD = 8.0  # grey levels


def is_dark_field(grey: Grey) -> bool:
    """True for bright objects on black, as UVP and other dark-field instruments take them. Without footer rows.

    The border is black and even, most of the image is as black as the border, and what differs is brighter. A dark
    object that is cut off at the border differs from that by the light background beside it.
    """
    border = border_pixels(grey)
    median = float(np.median(border))
    if median > DARK_BORDER or 1.4826 * _mad(border) > DARK_SPREAD:
        return False
    as_dark = float((grey <= median + DARK_SPREAD).mean())
    return as_dark > 0.5 and float(grey.max()) - median > 2 * DARK_SPREAD


def background_kind(grey: Grey) -> Literal["erased", "kept"]:
    """`erased` where the instrument set the background to 255 around the object, else `kept`. Without footer rows."""
    border = border_pixels(grey)
    wiped = bool(np.median(border) == 255) and _mad(border) == 0
    return "erased" if wiped and float((grey == 255).mean()) > 0.5 else "kept"


# --- the scale bar that ZooProcess writes under its vignettes -------------------------------------------------------
# 31 white rows; "1 mm" at rows -17 to -11 from column 11 on; a two-row bar at rows -6 and -5 from column 9 on, both
# in grey 85. Its length is the scan's resolution (94 px at 2400 dpi), cut where the image is narrower.
_FOOTER_ROWS = 31
_BAR_LEFT = 9
_MIN_BAR_PX = 12
_WHITE = 225
_INK = (60, 115)


def find_footer(grey: Grey) -> int:
    """Rows of the ZooProcess scale bar at the bottom: 31, or 0 where there is none."""
    height, width = grey.shape
    if height <= _FOOTER_ROWS or width < _BAR_LEFT + _MIN_BAR_PX:
        return 0
    footer = grey[-_FOOTER_ROWS:]
    length = _bar_length(footer)
    if length < _MIN_BAR_PX or not _has_bar_edges(footer, length):
        return 0
    background = np.ones(footer.shape, dtype=bool)
    background[13:22, 9:35] = False  # "1 mm" and the ringing that JPEG leaves around it
    background[23:29, _BAR_LEFT - 3 : _BAR_LEFT + length + 3] = False
    return _FOOTER_ROWS if float((footer[background] >= _WHITE).mean()) >= 0.99 else 0


def _bar_length(footer: UInt8[np.ndarray, "31 w"]) -> int:
    """Length of the run of ink that starts at the bar's left end in both of the bar's rows."""
    bar = footer[25:27, _BAR_LEFT:]
    ink = ((bar >= _INK[0]) & (bar <= _INK[1])).all(axis=0)
    return int(ink.argmin()) if not ink.all() else ink.size


def _has_bar_edges(footer: UInt8[np.ndarray, "31 w"], length: int) -> bool:
    """The bar stands free: light directly above, below and to its left, and it is as even as a drawn line."""
    columns = slice(_BAR_LEFT, _BAR_LEFT + length)
    beside = np.concatenate([footer[23, columns], footer[28, columns], footer[25:27, _BAR_LEFT - 3]])
    return bool(beside.min() >= 190) and float(footer[25:27, columns].std()) <= 12


def _mad(values: UInt8[np.ndarray, " n"]) -> float:
    return float(np.median(np.abs(values - np.median(values))))
