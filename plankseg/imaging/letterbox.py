"""Letterboxing: an image of any size into the network's square, and a map over the square back to the image.

Pixels are areas: pixel i covers i to i + 1, and both ways map the image's whole extent onto the same whole rows and
columns of the square. So `undo` is the geometric inverse of `apply`, for each axis by itself, however thin the image.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from plankseg.errors import MaskShapeError
from plankseg.imaging.arrays import Grey, Mask
from plankseg.imaging.background import border_pixels


@dataclass(frozen=True)
class Letterbox:
    """An image of `height` x `width` inside a square of `side` pixels: aspect kept, centred, padded.

    It fills the square along its longer side, unless it would then be enlarged more than `largest_zoom` times.
    """

    height: int
    width: int
    side: int
    largest_zoom: float = math.inf

    @classmethod
    def of(cls, shape: tuple[int, ...], side_px: int, *, largest_zoom: float = math.inf) -> "Letterbox":
        """The letterbox of an image of `shape` (h, w). Raises ValueError when a size is below 1."""
        height, width = shape
        if min(height, width, side_px) < 1:
            raise ValueError(f"A {height} x {width} image in a square of {side_px} px has no pixels. Check the sizes.")
        return cls(height=height, width=width, side=side_px, largest_zoom=largest_zoom)

    @property
    def inside(self) -> tuple[slice, slice]:
        """Rows and columns of the square that the image covers: at least one of each."""
        rows, columns = self._inner_shape
        top, left = (self.side - rows) // 2, (self.side - columns) // 2
        return slice(top, top + rows), slice(left, left + columns)

    def apply(self, grey: Grey) -> UInt8[np.ndarray, "side side"]:
        """The image in its square. Padding is the median of the image's border, so that no edge is invented."""
        self._check(grey.shape, (self.height, self.width))
        square = np.full((self.side, self.side), round(float(np.median(border_pixels(grey)))), dtype=np.uint8)
        square[self.inside] = _resize(grey, self._inner_shape)
        return square

    def apply_mask(self, mask: Mask) -> Bool[np.ndarray, "side side"]:
        """The mask in its square: True where the object covers at least half of a pixel.

        An object too small for that keeps its best covered pixel: what a person drew does not vanish from training.
        """
        self._check(mask.shape, (self.height, self.width), error=MaskShapeError)
        covered = _resize(mask.astype(np.float32), self._inner_shape)
        inner = covered >= 0.5
        if mask.any() and not inner.any():
            inner.ravel()[covered.argmax()] = True
        square = np.zeros((self.side, self.side), dtype=bool)
        square[self.inside] = inner
        return square

    def undo(self, probability: Float[np.ndarray, "side side"]) -> Float32[np.ndarray, "height width"]:
        """A map over the square as a map over the image, exactly its size; what lies on the padding is dropped."""
        self._check(probability.shape, (self.side, self.side))
        inner = np.ascontiguousarray(probability[self.inside], dtype=np.float32)
        native = _resize(inner, (self.height, self.width))
        return np.clip(native, inner.min(), inner.max())  # rounding would make a probability of 1.0000001

    @property
    def _inner_shape(self) -> tuple[int, int]:
        scale = min(self.side / max(self.height, self.width), self.largest_zoom)
        return max(1, round(self.height * scale)), max(1, round(self.width * scale))

    @staticmethod
    def _check(got: tuple[int, ...], expected: tuple[int, int], *, error: type[ValueError] = ValueError) -> None:
        if got != expected:
            raise error(
                f"This letterbox takes {expected[0]} x {expected[1]} and was given {' x '.join(map(str, got))}."
                " Make one with Letterbox.of for each image."
            )


def _resize(pixels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Area mean when shrinking (no thin antenna falls between samples), linear when growing (no overshoot)."""
    if pixels.shape == shape:
        return pixels
    shrinking = shape[0] <= pixels.shape[0] and shape[1] <= pixels.shape[1]
    method = cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, (shape[1], shape[0]), interpolation=method))
