"""Where is the object in each of very many images, and how far do the views agree?

The network's next squares are read and letterboxed by threads while it computes, so that neither waits for the other.
In memory are a few batches of squares at a time, whatever the sizes of the images; the preprocessing is the training's.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8

from plankseg.errors import ImageReadError, StoreError
from plankseg.imaging.arrays import Probability
from plankseg.imaging.letterbox import Letterbox
from plankseg.imaging.masks import dice
from plankseg.querying.scoring import Load, Looker
from plankseg.querying.uncertainty import SquareMap
from plankseg.querying.views import View

READERS = 4
BATCHES_AHEAD = 3

PerView = Float[np.ndarray, "views side side"]


@dataclass(frozen=True)
class Found:
    """What the model finds in one image: the mean over the views, to be brought back to the image's own size.

    `agreement` is the mean over the views of the Dice between the view's mask and the mask of the mean, both taken in
    the square the network saw and on the image's own pixels; None when there was one view only.
    """

    image_id: str
    letterbox: Letterbox
    square: SquareMap
    agreement: float | None

    def probability(self) -> Probability:
        """Probability of the object per pixel, at the image's own size; the mask is where it is at least 0.5."""
        return self.letterbox.undo(self.square)


@dataclass(frozen=True)
class Unreadable:
    """An image that could not be read, and why."""

    image_id: str
    reason: str


@dataclass(frozen=True)
class _Square:
    image_id: str
    letterbox: Letterbox
    pixels: UInt8[np.ndarray, "side side"]


def find_objects(looker: Looker, image_ids: Sequence[str], views: Sequence[View]) -> Iterator[Found | Unreadable]:
    """Look at each image in all views, in the order given.

    An image that cannot be read becomes an `Unreadable`; nothing else is passed over. As many images at a time as have
    all their views in one forward pass, at least one. Raises ScoreError where the model's answer is not finite.
    """
    step = max(1, looker.query.forward_batch // len(views))
    looker.network.to(device=looker.device, memory_format=torch.channels_last)
    for batch in _read_ahead(image_ids, looker.load, side_px=looker.side_px, step=step):
        found = iter(_look_at(looker, [square for square in batch if isinstance(square, _Square)], views))
        for one in batch:
            yield one if isinstance(one, Unreadable) else next(found)


def _read_ahead(
    image_ids: Sequence[str], load: Load, *, side_px: int, step: int
) -> Iterator[list[_Square | Unreadable]]:
    batches = (image_ids[start : start + step] for start in range(0, len(image_ids), step))
    pool = ThreadPoolExecutor(READERS, thread_name_prefix="read-ahead")
    pending: deque[list[Future[_Square | Unreadable]]] = deque()
    try:
        while True:
            for batch in islice(batches, BATCHES_AHEAD - len(pending)):
                pending.append([pool.submit(_read, image_id, load, side_px) for image_id in batch])
            if not pending:
                return
            yield [future.result() for future in pending.popleft()]
    finally:
        pool.shutdown(cancel_futures=True)


def _read(image_id: str, load: Load, side_px: int) -> _Square | Unreadable:
    try:
        grey = load(image_id)
    except (ImageReadError, StoreError) as error:
        return Unreadable(image_id, str(error))
    letterbox = Letterbox.of(grey.shape, side_px)
    return _Square(image_id, letterbox, letterbox.apply(grey))


def _look_at(looker: Looker, squares: Sequence[_Square], views: Sequence[View]) -> list[Found]:
    if not squares:
        return []
    pixels = torch.from_numpy(np.stack([square.pixels for square in squares]))
    per_view = looker.in_views(pixels, [square.image_id for square in squares], views)
    means = per_view.mean(0).cpu().numpy()
    seen = per_view.cpu().numpy()
    return [
        Found(square.image_id, square.letterbox, means[n], agreement_of(seen[:, n], means[n], square.letterbox))
        for n, square in enumerate(squares)
    ]


def agreement_of(per_view: PerView, mean: SquareMap, letterbox: Letterbox) -> float | None:
    """Mean Dice of the views' masks to the mask of their mean, on the image's own pixels; None for a single view."""
    if len(per_view) < 2:
        return None
    together: Bool[np.ndarray, "h w"] = mean[letterbox.inside] >= 0.5
    return float(np.mean([dice(view[letterbox.inside] >= 0.5, together) for view in per_view]))
