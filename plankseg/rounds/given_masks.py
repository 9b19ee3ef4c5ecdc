"""Which mask was handed in for an image, and can it be taken as it is?"""

from pathlib import Path

import numpy as np

from plankseg.errors import ImageReadError, MaskShapeError
from plankseg.imaging.arrays import Grey, Mask
from plankseg.imaging.reading import read_grey, read_header

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff"})


def given_mask(masks: Path, name: Path, grey: Grey) -> Mask:
    """The mask handed in for an image: same name, same size, two values.

    Raises:
        ImageReadError: there is none, it cannot be read, or it has more than two values.
        MaskShapeError: it has another size than the image.
    """
    named_alike = masks.joinpath(name).parent.glob(f"{_glob_escape(name.stem)}.*")
    found = sorted(path for path in named_alike if path.stem == name.stem and path.suffix.lower() in SUFFIXES)
    if not found:
        raise ImageReadError(f"No mask for {name} in {masks}; add one of the same name or take the image out.")
    data = found[0].read_bytes()
    height, width = grey.shape
    try:
        header = read_header(data)
        if (header.height, header.width) != (height, width):
            raise MaskShapeError(
                f"Mask {found[0]} is {header.width} x {header.height} but its image is {width} x {height}; left out."
            )
        pixels = read_grey(data, max_pixels=grey.size)
    except ImageReadError as error:
        raise ImageReadError(f"Mask {found[0]}: {error}") from error
    values = np.unique(pixels)
    if len(values) > 2:
        raise ImageReadError(
            f"Mask {found[0]} has {len(values)} grey values; a mask has two. Save it as a lossless PNG."
        )
    return pixels > (int(values[0]) + int(values[-1])) / 2 if len(values) == 2 else pixels > 0


def _glob_escape(text: str) -> str:
    return "".join(f"[{character}]" if character in "*?[" else character for character in text)
