"""What is known about an image when a person clicks: its grey, the model's probability, and the mask so far."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, UInt8


@dataclass(frozen=True)
class Evidence:
    """All of one size; `probability` is None where no model is trained yet."""

    image: UInt8[np.ndarray, "h w"]
    probability: Float32[np.ndarray, "h w"] | None
    mask: Bool[np.ndarray, "h w"]
