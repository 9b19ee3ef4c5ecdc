"""Prompts: the clicks and the box by which a person says what is wrong with a mask."""

import math
from dataclasses import dataclass

from plankseg.errors import PromptError


@dataclass(frozen=True)
class Click:
    """A point of the image, in pixels from its top left corner: on object that is missing, or on what is too much."""

    y_px: float
    x_px: float
    is_positive: bool

    def pixel(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Row and column of the pixel that was clicked; a click on the far border belongs to the last pixel.

        Raises PromptError where the click is outside an image of `shape` (h, w), or not a number.
        """
        height, width = shape
        if not (0 <= self.y_px <= height and 0 <= self.x_px <= width):  # false for nan as well
            raise PromptError(
                f"The click at row {self.y_px:g}, column {self.x_px:g} is outside its image of {height} x {width}"
                " (rows x columns). Click on the image, or send positions in its own pixels."
            )
        return min(int(self.y_px), height - 1), min(int(self.x_px), width - 1)


@dataclass(frozen=True)
class Box:
    """A rectangle around an object, in pixels of its image: rows from `top_px` to before `bottom_px`, columns alike."""

    top_px: float
    left_px: float
    bottom_px: float
    right_px: float

    def window(self, shape: tuple[int, int]) -> tuple[slice, slice]:
        """Rows and columns of the pixels that the box touches; what sticks out of the image is cut off.

        Raises PromptError where nothing of the box is inside an image of `shape` (h, w), or a side is not a number.
        """
        height, width = shape
        sides = (self.top_px, self.left_px, self.bottom_px, self.right_px)
        if all(map(math.isfinite, sides)):
            top, left = max(0, math.floor(self.top_px)), max(0, math.floor(self.left_px))
            bottom, right = min(height, math.ceil(self.bottom_px)), min(width, math.ceil(self.right_px))
            if top < bottom and left < right:
                return slice(top, bottom), slice(left, right)
        raise PromptError(
            f"The box from row {self.top_px:g}, column {self.left_px:g} to row {self.bottom_px:g}, column"
            f" {self.right_px:g} holds no pixel of its image of {height} x {width} (rows x columns). Draw it again."
        )


@dataclass(frozen=True)
class Prompts:
    """Clicks in the order in which they were made, and at most one box."""

    clicks: tuple[Click, ...] = ()
    box: Box | None = None
