"""Masks that come with the images: found by name, checked for size and values."""

import glob
from pathlib import Path

import numpy as np
from jaxtyping import UInt8, UInt16

from plankseg.errors import ImageReadError, MaskShapeError
from plankseg.imaging.arrays import Grey, Mask
from plankseg.imaging.reading import open_capped, read_grey, read_header

Levels = UInt8[np.ndarray, "h w"] | UInt16[np.ndarray, "h w"]
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff"})
TURN, PHOTOMETRIC = 0x0112, 262  # tags of a TIFF


def given_mask(masks: Path, name: Path, grey: Grey) -> Mask:
    """The mask handed in for an image: same name, same size, two values.

    Raises:
        ImageReadError: there is none, it cannot be read, or it has more than two values.
        MaskShapeError: it has another size than the image.
    """
    named_alike = masks.joinpath(name).parent.glob(f"{glob.escape(name.stem)}.*")
    found = sorted(path for path in named_alike if path.stem == name.stem and path.suffix.lower() in SUFFIXES)
    if not found:
        raise ImageReadError(f"No mask for {name} in {masks}; add one of the same name or take the image out.")
    return mask_in(found[0].read_bytes(), name=str(found[0]), grey=grey)


def mask_in(data: bytes, *, name: str, grey: Grey) -> Mask:
    """The mask in a file's bytes, of the image's size and with two values. Raises as `given_mask`."""
    height, width = grey.shape
    try:
        header = read_header(data)
        if (header.height, header.width) != (height, width):
            raise MaskShapeError(
                f"Mask {name} is {header.width} x {header.height} but its image is {width} x {height}; left out."
            )
        return _two_valued(_levels(data, max_pixels=grey.size))
    except ImageReadError as error:
        raise ImageReadError(f"Mask {name}: {error}") from error


def given_mask_of(image: Path, *, images: Path, masks: Path, grey: Grey) -> Mask:
    """The mask handed in for an image file: at the same place below `masks` as the image below `images`, any suffix.

    Raises as `given_mask`, and ImageReadError for a file that does not lie below `images`.
    """
    inside, below = image.resolve(), images.expanduser().resolve()
    if not inside.is_relative_to(below):
        raise ImageReadError(f"Image {image} does not lie below {images}, so its mask cannot be found by name.")
    return given_mask(masks.expanduser().resolve(), inside.relative_to(below), grey)


def _two_valued(levels: Levels) -> Mask:
    """True where the higher of two values is; of one value all False if it is 0, else all True."""
    values = np.unique(levels)
    if len(values) > 2:
        raise ImageReadError(f"It has {len(values)} grey values; a mask has two. Save it as a lossless PNG.")
    mask: Mask = levels > (values[0] if len(values) == 2 else 0)
    return mask


def _levels(data: bytes, *, max_pixels: int) -> Levels:
    """The grey values; those of 16 bits as they are stored, for `read_grey` would make a 1 of 65535 a 0."""
    grey = read_grey(data, max_pixels=max_pixels)
    bits = read_header(data).bits
    if bits <= 8:
        return grey
    image = open_capped(data, max_pixels=max_pixels)
    tags = image.getexif() if image.format == "TIFF" else {}
    is_turned, is_negative = tags.get(TURN, 1) != 1, tags.get(PHOTOMETRIC) == 0
    if image.mode.startswith("I;16") and not (is_turned or is_negative or "transparency" in image.info):
        return np.asarray(image)
    if grey.min() == grey.max():
        raise ImageReadError(
            f"All its pixels are {grey.min()} once its {bits} bits are scaled to 8, which may hide a mask of small "
            "values. Save it as an 8-bit grey PNG."
        )
    return grey
