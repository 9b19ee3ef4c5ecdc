"""Masks that come with the images: found by name, checked for size, values and plausibility."""

import glob
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8, UInt16

from plankseg.errors import ImageReadError, MaskShapeError
from plankseg.imaging.arrays import Grey, Mask
from plankseg.imaging.background import border_pixels
from plankseg.imaging.reading import open_capped, read_grey, read_header, read_opacity

Levels = UInt8[np.ndarray, "h w"] | UInt16[np.ndarray, "h w"]
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff"})
TURN, PHOTOMETRIC = 0x0112, 262  # tags of a TIFF
SAMPLED = 48  # masks that tell whether all of them are inverted
FEWEST_SAMPLED = 3
INVERTED_SHARE = 0.9
MAX_BORDER_SHARE = 0.8  # of the image's border: more is covered by an inverted mask only


@dataclass(frozen=True)
class Polarity:
    """Whether the lower of a mask's two values is the object, and what was seen that says so."""

    is_inverted: bool = False
    note: str | None = None


def polarity_of(samples: Iterable[bytes], *, max_pixels: int) -> Polarity:
    """Whether masks are inverted: nearly all of a few samples cover the border of their image.

    An object lies inside of its vignette; where black is the object, or an ImageJ mask is stored with 255 as black,
    its surroundings come out as the mask.
    """
    shares = []
    for data in samples:
        try:
            mask = _two_valued(_levels(data, max_pixels=max_pixels))
        except (ImageReadError, MaskShapeError):
            continue  # reported where the mask is taken
        if mask.any() and not mask.all():
            shares.append(_border_share(mask))
    covering = sum(share >= MAX_BORDER_SHARE for share in shares)
    if len(shares) < FEWEST_SAMPLED or covering < INVERTED_SHARE * len(shares):
        return Polarity()
    note = (
        f"The masks were inverted: in {covering} of {len(shares)} that were looked at, the higher value covers over "
        f"{100 * MAX_BORDER_SHARE:.0f} % of the image's border, so the lower value is taken for the object. Look at a "
        "few."
    )
    return Polarity(is_inverted=True, note=note)


def given_mask(masks: Path, name: Path, grey: Grey, *, polarity: Polarity | None = None) -> Mask:
    """The mask handed in for an image: same name, same size, two values.

    Raises:
        ImageReadError: there is none, it cannot be read, has more than two values, or cannot be the object's mask.
        MaskShapeError: it has another size than the image.
    """
    named_alike = masks.joinpath(name).parent.glob(f"{glob.escape(name.stem)}.*")
    found = sorted(path for path in named_alike if path.stem == name.stem and path.suffix.lower() in SUFFIXES)
    if not found:
        raise ImageReadError(f"No mask for {name} in {masks}; add one of the same name or take the image out.")
    return only_mask([(str(path), path.read_bytes()) for path in found], grey=grey, polarity=polarity or Polarity())


def only_mask(files: list[tuple[str, bytes]], *, grey: Grey, polarity: Polarity) -> Mask:
    """The mask in the files that are an image's mask by their names, which must agree. Raises as `given_mask`."""
    first, *others = [mask_in(data, name=name, grey=grey, polarity=polarity) for name, data in files]
    if any(not np.array_equal(first, other) for other in others):
        names = ", ".join(name for name, _ in files)
        raise ImageReadError(f"Masks {names} differ, and all are named as masks of this image; keep one of them.")
    return first


def mask_in(data: bytes, *, name: str, grey: Grey, polarity: Polarity | None = None) -> Mask:
    """The mask in a file's bytes, of the image's size and with two values. Raises as `given_mask`."""
    height, width = grey.shape
    try:
        header = read_header(data)
        if (header.height, header.width) != (height, width):
            raise MaskShapeError(
                f"Mask {name} is {header.width} x {header.height} but its image is {width} x {height}; left out."
            )
        mask = _two_valued(_levels(data, max_pixels=grey.size))
        if polarity is not None and polarity.is_inverted:
            mask = ~mask
        if (share := _border_share(mask)) >= MAX_BORDER_SHARE:
            raise ImageReadError(
                f"It covers {100 * share:.0f} % of its image's border, as an inverted or a full mask does. Give the "
                "object the higher value, or cut the vignette wider."
            )
        return mask
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


def _border_share(mask: Mask) -> float:
    return float(border_pixels(mask.view(np.uint8)).mean())


def _two_valued(levels: Levels) -> Mask:
    """True where the higher of two values is; of one value all False if it is 0, else all True."""
    values = np.unique(levels)
    if len(values) > 2:
        raise ImageReadError(f"It has {len(values)} grey values; a mask has two. Save it as a lossless PNG.")
    mask: Mask = levels > (values[0] if len(values) == 2 else 0)
    return mask


def _levels(data: bytes, *, max_pixels: int) -> Levels:
    """The grey values, of a drawing on a transparent background its opacity.

    Those of 16 bits as they are stored, for `read_grey` would make a 1 of 65535 a 0.
    """
    opacity = read_opacity(data, max_pixels=max_pixels)
    if opacity is not None and opacity.min() < opacity.max():
        return opacity
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
