"""The same picture as other files: saved again, resized, darkened."""

import io

import numpy as np
from PIL import Image

from plankseg.imaging.reading import encode_grey


def jpeg(image: Image.Image, quality: int = 80) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return out.getvalue()


def copies(grey: np.ndarray) -> dict[str, bytes]:
    """The same picture as other files: saved again, a little smaller, a little larger and darker."""
    image = Image.fromarray(grey)
    width, height = image.size
    return {
        "saved-again.jpg": jpeg(image),
        "smaller.png": encode_grey(np.array(image.resize((round(width * 0.9), round(height * 0.9))))),
        "larger.jpg": jpeg(image.resize((round(width * 1.1), round(height * 1.1))).point(lambda v: v * 0.97)),
    }
