"""Framing: how large the square is that an image of a certain size is laid into, and at which scale.

In plankton imaging a pixel is a length. A square of one side for all images enlarges a vignette of 60 px to over ten
times its pixels, for nothing. With a largest zoom, images keep their scale, or a multiple of it, as long as they fit
into the largest square; they are grouped by the sides of their squares, since a forward pass takes one side.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from plankseg.imaging.letterbox import Letterbox

SIDE_STEP_PX = 32
"""Sides are multiples of this: encoders halve a square five times."""

SMALLEST_SIDE_PX = 96
"""Images that are smaller fill this square, enlarged at most `SMALLEST_ZOOM` times: its pixels are computed anyway."""

SMALLEST_ZOOM = 4.0


@dataclass(frozen=True)
class Framing:
    """Squares of `side_px` for all images; or, with `largest_zoom`, of the smallest side that holds the zoomed image.

    Those sides are multiples of 32 px, from 96 to `side_px`. What is larger is shrunk into a square of `side_px`.
    """

    side_px: int
    largest_zoom: float | None = None

    def letterbox(self, shape: tuple[int, ...]) -> Letterbox:
        """The letterbox of an image of `shape` (h, w). Raises ValueError when a size is below 1."""
        if self.largest_zoom is None:
            return Letterbox.of(shape, self.side_px)
        longest = max(1, *shape)
        zoom = max(self.largest_zoom, min(SMALLEST_SIDE_PX / longest, SMALLEST_ZOOM))
        wanted = SIDE_STEP_PX * math.ceil(round(longest * zoom) / SIDE_STEP_PX)
        side = min(max(wanted, SMALLEST_SIDE_PX), self.side_px)
        return Letterbox.of(shape, side, largest_zoom=zoom)

    @property
    def sides(self) -> tuple[int, ...]:
        """The sides of all squares there can be, ascending."""
        if self.largest_zoom is None:
            return (self.side_px,)
        return (*range(min(SMALLEST_SIDE_PX, self.side_px), self.side_px, SIDE_STEP_PX), self.side_px)


def grouped_by_side(letterboxes: Sequence[Letterbox], most: Callable[[int], int]) -> Iterator[list[int]]:
    """Indices of letterboxes with squares of one side, at most `most(side)` at a time; by side, then in order."""
    by_side: dict[int, list[int]] = {}
    for index, letterbox in enumerate(letterboxes):
        by_side.setdefault(letterbox.side, []).append(index)
    for side, indices in sorted(by_side.items()):
        step = most(side)
        yield from (indices[first : first + step] for first in range(0, len(indices), step))
