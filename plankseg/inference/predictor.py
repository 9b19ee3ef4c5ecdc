"""How unsure is the model of each of these images?

Every image is looked at in several views; the views of many images share a forward pass. The preprocessing is the
training's own (`learning.preparing`); images are read once, by threads, while the network computes. A score depends on
the image, the model, the backend and the recipe, not on the company it is scored in, to the last bit: the archive may
be cut into any shards, scored by any number of processes in any order, and the scores put together.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8

from plankseg.config import QueryConfig
from plankseg.errors import ScoreError
from plankseg.imaging.arrays import Probability
from plankseg.imaging.letterbox import Letterbox
from plankseg.inference.backends import Backend
from plankseg.inference.prefetch import Load, Square, Unreadable, read_ahead
from plankseg.inference.tta import Maps, Squares, View, views_of
from plankseg.inference.uncertainty import SquareMap, mean_in_band, mean_inside, measure_of
from plankseg.inference.uncertainty import Views as ViewMaps

FULL_BATCH_PX = 256
"""Above this side a forward pass takes fewer views, so that its memory stays as it is at this one."""


@dataclass(frozen=True)
class Looked:
    """What the model makes of one image, at the image's own size."""

    image_id: str
    probability: Probability
    """Mean over the views, each undone: the pre-mask is where it is at least 0.5."""
    uncertainty_map: Float32[np.ndarray, "h w"]
    uncertainty: float
    """The image's score."""


@dataclass(frozen=True)
class Seen:
    """What the model makes of one image, in the square."""

    image_id: str
    letterbox: Letterbox
    probability: SquareMap
    uncertainty_map: SquareMap
    uncertainty: float


def score(
    backend: Backend,
    image_ids: Sequence[str],
    load: Load,
    *,
    query: QueryConfig,
    side_px: int,
    on_progress: Callable[[int, int], None] | None = None,
    on_unreadable: Callable[[Unreadable], None] | None = None,
) -> dict[str, float]:
    """The uncertainty of every image, in the order of the ids; an id that is given twice is scored once.

    A pure function of ids: `score(a + b)` is `score(a) | score(b)` to the last bit. `on_progress(done, total)` is
    called after every chunk, with numbers of images. `on_unreadable` is told of an image that cannot be read, which
    then has no score; without it that raises what `load` raised. Raises ScoreError naming the image for which the
    model's answer is not finite.
    """
    wanted = sorted(set(image_ids))
    scores: dict[str, float] = {}
    done = 0
    for chunk in TTAPredictor(backend, load, query, side_px).chunks(wanted, apart=True):
        for one in chunk:
            if isinstance(one, Seen):
                scores[one.image_id] = one.uncertainty
            elif on_unreadable is not None:
                on_unreadable(one)
            else:
                raise one.error or ScoreError(one.reason)
        done += len(chunk)
        if on_progress is not None:
            on_progress(done, len(wanted))
    return scores


def look(
    backend: Backend, image_ids: Sequence[str], load: Load, *, query: QueryConfig, side_px: int
) -> Iterator[Looked]:
    """Probability and uncertainty of each image at its native size, in the order given, repeated ids once.

    The uncertainty agrees with that of `score` up to float32's rounding. Raises what `score` raises.
    """
    for chunk in TTAPredictor(backend, load, query, side_px).chunks(list(dict.fromkeys(image_ids))):
        for seen in chunk:
            if isinstance(seen, Unreadable):
                raise seen.error or ScoreError(seen.reason)
            yield Looked(
                image_id=seen.image_id,
                probability=seen.letterbox.undo(seen.probability),
                uncertainty_map=seen.letterbox.undo(seen.uncertainty_map),
                uncertainty=seen.uncertainty,
            )


@dataclass(frozen=True)
class TTAPredictor:
    """One model with everything it needs to look at any image."""

    backend: Backend
    load: Load
    query: QueryConfig
    side_px: int

    @property
    def forward_rows(self) -> int:
        """Views in one forward pass: as the recipe says, fewer for large squares, at least one."""
        larger = max(1.0, (self.side_px / FULL_BATCH_PX) ** 2)
        return max(1, int(self.query.forward_batch / larger))

    def images_at_once(self, views: Sequence[View]) -> int:
        """As many images as have all their views in one forward pass, at least one."""
        return max(1, self.forward_rows // len(views))

    def chunks(self, image_ids: Sequence[str], *, apart: bool = False) -> Iterator[list[Seen | Unreadable]]:
        """What is seen in each image, in the order given, `images_at_once` at a time.

        `apart`: no image's last bit may depend on the others. Raises ScoreError where an answer is not finite.
        """
        views = views_of(self.query)
        step = self.images_at_once(views)
        for batch in read_ahead(image_ids, self.load, side_px=self.side_px, step=step):
            squares = [one for one in batch if isinstance(one, Square)]
            seen = iter(self._look_at(squares, views, apart=apart) if squares else [])
            yield [one if isinstance(one, Unreadable) else next(seen) for one in batch]

    def in_views(
        self, squares: Squares, image_ids: Sequence[str], views: Sequence[View], *, apart: bool = False
    ) -> ViewMaps:
        """Probabilities of the object in each view of each square, undone: (views, n, side, side), on the device.

        Raises ScoreError naming the images for which the model's answer is not finite.
        """
        with torch.inference_mode():
            rows = min(self.forward_rows, self.images_at_once(views) * len(views))
            logits = self._logits(torch.cat([view.do(squares, image_ids) for view in views]), rows, apart=apart)
            per_view = logits.reshape(len(views), len(image_ids), self.side_px, self.side_px)
            _check_finite(per_view, image_ids)
            return torch.stack([view.undo(seen) for view, seen in zip(views, per_view.sigmoid(), strict=True)])

    def _look_at(self, squares: Sequence[Square], views: Sequence[View], *, apart: bool) -> list[Seen]:
        pixels = torch.from_numpy(np.stack([square.pixels for square in squares]))
        with torch.inference_mode():
            undone = self.in_views(pixels, [square.image_id for square in squares], views, apart=apart)
            maps = measure_of(self.query)(undone).cpu().numpy()
            means = undone.mean(0).cpu().numpy()
        return [
            Seen(one.image_id, one.letterbox, mean, map_, _region_mean(map_, mean, one.letterbox, self.query))
            for one, map_, mean in zip(squares, maps, means, strict=True)
        ]

    def _logits(self, squares: Squares, rows: int, *, apart: bool) -> Maps:
        """The backend's answers, `rows` squares at a time.

        A forward pass over fewer squares is computed by other kernels, whose last bits differ; where no image may
        depend on the others a part that is not full is therefore filled up with black ones.
        """
        fill = apart and not self.backend.looks_one_by_one
        return torch.cat(
            [self.backend.logits(_filled(part, rows) if fill else part)[: len(part)] for part in squares.split(rows)]
        )


def _filled(squares: Squares, rows: int) -> UInt8[torch.Tensor, "rows h w"]:
    return torch.cat([squares, squares.new_zeros(rows - len(squares), *squares.shape[1:])])


def _check_finite(logits: Float[torch.Tensor, "views n side side"], image_ids: Sequence[str]) -> None:
    finite = logits.isfinite().flatten(2).all(2).all(0).tolist()
    bad = [image_id for image_id, is_finite in zip(image_ids, finite, strict=True) if not is_finite]
    if bad:
        raise ScoreError(
            f"The model's answer is not finite for {', '.join(bad)}. Take the image out of the pool; "
            "if all images are named the weights are broken: go back to the model before."
        )


def _region_mean(uncertainty_map: SquareMap, probability: SquareMap, letterbox: Letterbox, query: QueryConfig) -> float:
    if query.region == "band":
        return mean_in_band(uncertainty_map, probability, letterbox, query.band_px)
    return mean_inside(uncertainty_map, letterbox)
