"""Where is the object in each of very many images, and how far do the views agree?

The images are read by threads while the network computes (`reading_ahead`); the preprocessing is the training's.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float

from plankseg.imaging.arrays import Probability
from plankseg.imaging.letterbox import Letterbox
from plankseg.imaging.masks import dice
from plankseg.inference.predictor import TTAPredictor
from plankseg.inference.prefetch import Square, Unreadable, read_ahead
from plankseg.inference.tta import View
from plankseg.inference.uncertainty import SquareMap

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


def find_objects(looker: TTAPredictor, image_ids: Sequence[str], views: Sequence[View]) -> Iterator[Found | Unreadable]:
    """Look at each image in all views, in the order given.

    An image that cannot be read becomes an `Unreadable`; nothing else is passed over. As many images at a time as have
    all their views in one forward pass, at least one. Raises ScoreError where the model's answer is not finite.
    """
    step = looker.images_at_once(views)
    for batch in read_ahead(image_ids, looker.load, side_px=looker.side_px, step=step):
        found = iter(_look_at(looker, [square for square in batch if isinstance(square, Square)], views))
        for one in batch:
            yield one if isinstance(one, Unreadable) else next(found)


def _look_at(looker: TTAPredictor, squares: Sequence[Square], views: Sequence[View]) -> list[Found]:
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
