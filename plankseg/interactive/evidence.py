"""What is known about an image when a person clicks: its grey, the model's probability, and the mask so far."""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8


@dataclass(frozen=True)
class Evidence:
    """All of one size; `probability` is None where no model is trained yet."""

    image: UInt8[np.ndarray, "h w"]
    probability: Float32[np.ndarray, "h w"] | None
    mask: Bool[np.ndarray, "h w"]

    @cached_property
    def distance(self) -> Float32[np.ndarray, "h w"]:
        """Distance of each pixel to the mask's outline, positive inside."""
        return signed_distance(self.mask)

    def depth(self, pixel: tuple[int, int]) -> float:
        """How far a pixel is from the mask's outline: the radius of what a click in the middle of an error means."""
        return abs(float(self.distance[pixel]))


def joined_part(
    part: Bool[np.ndarray, "h w"], mask: Bool[np.ndarray, "h w"], pixel: tuple[int, int], is_positive: bool
) -> Bool[np.ndarray, "h w"]:
    """What a click changes in the mask: its part as far as that is 8-connected to the click's pixel, which it holds."""
    changed = part & (mask != is_positive)
    changed[pixel] = True
    _, labels = cv2.connectedComponents(changed.astype(np.uint8), connectivity=8)
    return np.asarray(labels == labels[pixel])


def signed_distance(shape: Bool[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    """Distance of each pixel's centre to the outline, positive inside; without an outline at most h + w."""
    height, width = shape.shape
    inside, outside = (
        np.minimum(cv2.distanceTransform(np.ascontiguousarray(part, np.uint8), cv2.DIST_L2, 5), height + width)
        for part in (shape, ~shape)
    )
    return np.asarray(np.where(shape, inside - 0.5, 0.5 - outside), np.float32)
