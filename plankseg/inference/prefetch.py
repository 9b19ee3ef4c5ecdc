"""Reading ahead: threads read and letterbox a few batches of images while the network computes.

A few batches of squares and one image per thread are in memory at a time, whatever the sizes of the images.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

import numpy as np
from jaxtyping import UInt8

from plankseg.errors import ImageReadError, StoreError
from plankseg.imaging.arrays import Grey
from plankseg.imaging.framing import Framing
from plankseg.imaging.letterbox import Letterbox
from plankseg.parallel import ordered_map

READERS = 4
BATCHES_AHEAD = 3

Item = TypeVar("Item")
Load = Callable[[str], Grey]
"""Gives the grey image of an id; it alone knows where images live."""


@dataclass(frozen=True)
class Unreadable:
    """An image that could not be read, and why."""

    image_id: str
    reason: str
    error: Exception | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Square:
    """An image as the network takes it."""

    image_id: str
    letterbox: Letterbox
    pixels: UInt8[np.ndarray, "side side"]

    @classmethod
    def of(cls, image_id: str, grey: Grey, framing: Framing) -> "Square":
        """An image in the square that its size asks for."""
        letterbox = framing.letterbox(grey.shape)
        return cls(image_id, letterbox, letterbox.apply(grey))


def read_ahead(
    image_ids: Iterable[str], load: Load, *, framing: Framing, step: int
) -> Iterator[list[Square | Unreadable]]:
    """The images in the order given, `step` at a time, each read once. Raises what `load` raises of other errors."""
    return squares_ahead(image_ids, lambda image_id: _read(image_id, load, framing), step=step)


def squares_ahead(
    items: Iterable[Item], read: Callable[[Item], Square | Unreadable], *, step: int, first: int | None = None
) -> Iterator[list[Square | Unreadable]]:
    """The same for anything that `read` makes a square of; items are taken a few batches ahead, in this thread.

    `first` images are a batch of their own, so that somebody who waits sees the first answer soon.
    """
    images = ordered_map(
        read,
        items,
        threads=READERS,
        ahead=BATCHES_AHEAD * step,
        name="read-ahead",
    )
    if first is not None and (batch := list(islice(images, first))):
        yield batch
    while batch := list(islice(images, step)):
        yield batch


def _read(image_id: str, load: Load, framing: Framing) -> Square | Unreadable:
    try:
        grey = load(image_id)
    except (ImageReadError, StoreError) as error:
        return Unreadable(image_id, str(error), error)
    return Square.of(image_id, grey, framing)
