"""One mask on its way out, with what every format says of its image."""

from collections.abc import Callable
from dataclasses import dataclass, field

from plankseg.imaging.arrays import Mask


@dataclass(frozen=True, kw_only=True)
class MaskRecord:
    """`path` is the image's, relative. `origin` says who made the mask, `status` whether it is to be used.

    `score` is the Dice that the model expects, None for a person's mask. `read_image` gives the image file's bytes,
    or raises ImageReadError, StoreError or OSError.
    """

    path: str
    mask: Mask
    image_id: str
    origin: str
    status: str
    read_image: Callable[[], bytes] = field(repr=False, compare=False)
    taxon: str | None = None
    score: float | None = None
    model_id: str | None = None
