"""Binary masks: 1-bit PNG, hash of the pixels, Dice and IoU, largest component."""

import hashlib
import io

import cv2
import numpy as np
from jaxtyping import Bool
from PIL import Image

from plankseg.errors import ImageReadError, MaskShapeError
from plankseg.imaging.arrays import Mask
from plankseg.imaging.reading import DEFAULT_MAX_PIXELS, open_capped, read_grey


def encode_mask(mask: Mask) -> bytes:
    """The mask as a 1-bit grey PNG, white on the object."""
    out = io.BytesIO()
    Image.fromarray(mask).save(out, "PNG")
    return out.getvalue()


def encode_mask_8bit(mask: Mask) -> bytes:
    """The mask as an 8-bit grey PNG, 255 on the object and 0 elsewhere: what every program reads alike."""
    options = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
    is_encoded, data = cv2.imencode(".png", mask.view(np.uint8) * np.uint8(255), options)
    assert is_encoded, "a PNG in memory is always written"
    return data.tobytes()


def decode_mask(data: bytes, *, shape: tuple[int, int] | None = None, max_pixels: int = DEFAULT_MAX_PIXELS) -> Mask:
    """The mask in an image file: bool (h, w), True where the pixel is not black.

    Ours are 1-bit PNG; others' 0/1 and 0/255 files are understood too. Raises ImageReadError when there are other grey
    values (a probability map, a JPEG), since any threshold would be a guess; MaskShapeError when it is not `shape`.
    """
    image = open_capped(data, max_pixels=max_pixels)
    if image.format == "JPEG":
        raise ImageReadError("A mask cannot be kept as JPEG, which blurs its edge. Save it as PNG.")
    if shape is not None and (image.height, image.width) != tuple(shape):
        raise MaskShapeError(
            f"The mask is {image.height} x {image.width} (rows x columns) but its image is {shape[0]} x {shape[1]}."
            " Make the mask again from this image."
        )
    grey = read_grey(data, max_pixels=max_pixels)
    values = np.flatnonzero(np.bincount(grey.ravel(), minlength=256))
    if not (set(values.tolist()) <= {0, 255} or set(values.tolist()) <= {0, 1}):
        raise ImageReadError(
            f"A mask has two values, 0 and 1 or 0 and 255; this one has {values.size}, such as {values[:5].tolist()}."
            " Threshold it first."
        )
    return grey > 0


def pixel_sha(mask: Mask) -> str:
    """SHA-256 over size and pixels, as hex: equal for equal masks, whatever the file they came in."""
    height, width = mask.shape
    return hashlib.sha256(f"{height}x{width}:".encode() + np.packbits(mask).tobytes()).hexdigest()


def largest_component(mask: Mask) -> Mask:
    """The largest 8-connected component; the first in reading order when two are equal; empty stays empty."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count == 1:
        return mask.copy()
    areas = stats[1:, cv2.CC_STAT_AREA]
    tied = 1 + np.flatnonzero(areas == areas.max())
    if tied.size == 1:
        return np.asarray(labels == tied[0])
    flat = labels.ravel()
    return np.asarray(labels == flat[np.isin(flat, tied).argmax()])


def fill_holes(mask: Mask) -> Mask:
    """The mask with every hole filled: ground that is not 4-connected to the image's border becomes object."""
    ground = np.pad((~mask).astype(np.uint8), 1, constant_values=1)
    _, labels = cv2.connectedComponents(ground, connectivity=4)
    return np.asarray(labels != labels[0, 0])[1:-1, 1:-1]


def fill_small_holes(mask: Mask, most_px: int) -> Mask:
    """The mask with its holes of at most `most_px` pixels filled; ground that touches the image's border is no hole."""
    ground = np.pad((~mask).astype(np.uint8), 1, constant_values=1)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(ground, connectivity=4)
    small = stats[:, cv2.CC_STAT_AREA] <= most_px
    small[[0, labels[0, 0]]] = False  # the object itself, and what is around it
    return np.asarray(mask | small[labels][1:-1, 1:-1])


def drop_small_parts(mask: Mask, share: float) -> Mask:
    """The mask without the 8-connected parts below `share` (0 to 1) of the largest part's area."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count <= 2:
        return mask.copy()
    areas = stats[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0  # the ground
    kept = (areas > 0) & (areas >= share * areas.max())
    return np.asarray(kept[labels])


def dice(a: Mask, b: Bool[np.ndarray, "rows columns"]) -> float:
    """2 |A and B| / (|A| + |B|), 0 to 1; two empty masks agree: 1. Raises MaskShapeError on different sizes."""
    require_same_shape(a, b)
    total = int(np.count_nonzero(a)) + int(np.count_nonzero(b))
    return 2 * int(np.count_nonzero(a & b)) / total if total else 1.0


def iou(a: Mask, b: Bool[np.ndarray, "rows columns"]) -> float:
    """|A and B| / |A or B|, 0 to 1; two empty masks agree: 1. Raises MaskShapeError on different sizes."""
    require_same_shape(a, b)
    union = int(np.count_nonzero(a | b))
    return int(np.count_nonzero(a & b)) / union if union else 1.0


def changed_pixels(a: Mask, b: Bool[np.ndarray, "rows columns"]) -> int:
    """How many pixels differ. Raises MaskShapeError on different sizes."""
    require_same_shape(a, b)
    return int(np.count_nonzero(a ^ b))


def require_same_shape(a: np.ndarray, b: np.ndarray) -> None:
    """Raise MaskShapeError unless two masks are of one size."""
    if a.shape != b.shape:
        raise MaskShapeError(
            f"Masks of {a.shape[0]} x {a.shape[1]} and {b.shape[0]} x {b.shape[1]} (rows x columns) cannot be compared."
            " Bring both to their image's own size first."
        )
