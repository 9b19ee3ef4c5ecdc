"""Array types of images, masks and probabilities. Checked at run time under pytest only (jaxtyping and beartype)."""

import numpy as np
from jaxtyping import Bool, Float, UInt8

Grey = UInt8[np.ndarray, "h w"]
"""A grey image: 0 is black (dense), 255 is the light background."""

Mask = Bool[np.ndarray, "h w"]
"""True on the object. 0/255, RGBA, run lengths and PNG exist only where files and servers are read or written."""

Probability = Float[np.ndarray, "h w"]
"""Probability of the object per pixel, 0 to 1, at the image's own size."""

Rgb = UInt8[np.ndarray, "h w 3"]
"""A picture for people."""
