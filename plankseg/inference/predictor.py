"""Predictions of a model with test-time augmentation: masks, uncertainties and scores of many images.

The views of many images share a forward pass. The preprocessing is the training's own (`learning.network`). Threads
read the images, each once, while the network computes. A score depends on the image, the model, the backend and the
recipe only, to the last bit, and not on the images that are scored with it: an archive may be cut into any shards,
scored by any number of processes in any order, and the scores put together.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8

from plankseg.config import QueryConfig
from plankseg.errors import ScoreError
from plankseg.imaging.framing import Framing, grouped_by_side
from plankseg.imaging.letterbox import Letterbox
from plankseg.inference.backends import Backend
from plankseg.inference.prediction import Prediction, agreement_of
from plankseg.inference.prefetch import Load, Square, Unreadable, read_ahead
from plankseg.inference.tta import Maps, Squares, View, views_of
from plankseg.inference.uncertainty import MEASURES, SquareMap, conventional_disagreement, mean_in_band, mean_inside
from plankseg.inference.uncertainty import Views as ViewMaps

FULL_BATCH_PX = 256
"""Above this side a forward pass takes fewer views, so that its memory stays as it is at this one."""

SEVERAL_SIDES = 8
"""So many forward passes' images are sorted by the sides of their squares, so that most passes are full."""


@dataclass(frozen=True)
class TTAPredictor:
    """A model that predicts in several views. `views` are those of the query where none are given."""

    backend: Backend
    load: Load
    query: QueryConfig
    framing: Framing
    views: tuple[View, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "views", self.views or views_of(self.query))

    def forward_rows(self, side_px: int) -> int:
        """Views in one forward pass: as the recipe says, fewer for large squares, at least one."""
        larger = max(1.0, (side_px / FULL_BATCH_PX) ** 2)
        return max(1, int(self.query.forward_batch / larger))

    def images_at_once(self, side_px: int) -> int:
        """As many images as have all their views in one forward pass, at least one.

        Where squares have several sides there are few images of each at a time. A backend whose answers depend on the
        size of the batch would compute mostly filling, so on a CPU it takes one image at a time.
        """
        if len(self.framing.sides) > 1 and not self.backend.is_batch_invariant and self.backend.device.type == "cpu":
            return 1
        return max(1, self.forward_rows(side_px) // len(self.views))

    @property
    def batch_size(self) -> int:
        """Images that are read and answered together: a forward pass, or several where squares have several sides."""
        step = self.images_at_once(self.framing.side_px)
        return step if len(self.framing.sides) == 1 else SEVERAL_SIDES * step

    def score(
        self,
        image_ids: Sequence[str],
        *,
        on_progress: Callable[[int, int], None] | None = None,
        on_unreadable: Callable[[Unreadable], None] | None = None,
    ) -> dict[str, float]:
        """The uncertainty of every image, by ascending id; an id that is given twice is scored once.

        `score(a + b)` is `score(a) | score(b)` to the last bit. `on_progress(done, total)` is called after every
        batch, with numbers of images. `on_unreadable` is called for an image that cannot be read, which then has no
        score; without it, this raises what `load` raised. Raises ScoreError as `batches`.
        """
        ids = sorted(set(image_ids))
        scores: dict[str, float] = {}
        done = 0
        for batch in self.batches(ids, independent=True):
            for item in batch:
                if isinstance(item, Prediction):
                    scores[item.image_id] = item.uncertainty
                elif on_unreadable is not None:
                    on_unreadable(item)
                else:
                    raise item.error or ScoreError(item.reason)
            done += len(batch)
            if on_progress is not None:
                on_progress(done, len(ids))
        return scores

    def predict(self, image_ids: Sequence[str]) -> Iterator[Prediction]:
        """The prediction for each image, in the order given, repeated ids once.

        The uncertainty agrees with that of `score` up to float32's rounding. Raises what `score` raises.
        """
        for batch in self.batches(list(dict.fromkeys(image_ids))):
            for item in batch:
                if isinstance(item, Unreadable):
                    raise item.error or ScoreError(item.reason)
                yield item

    def batches(
        self, image_ids: Sequence[str], *, independent: bool = False
    ) -> Iterator[list[Prediction | Unreadable]]:
        """The prediction for each image, in the order given, `batch_size` at a time.

        An image that cannot be read becomes an `Unreadable`. `independent`: no image's last bit may depend on the
        others. Raises ScoreError, with the ids, where the model's answer is not finite.
        """
        read = read_ahead(image_ids, self.load, framing=self.framing, step=self.batch_size)
        yield from self.predictions(read, independent=independent)

    def predictions(
        self, batches: Iterable[list[Square | Unreadable]], *, independent: bool = False
    ) -> Iterator[list[Prediction | Unreadable]]:
        """The same for images that are in their squares already, at most `batch_size` at a time."""
        for batch in batches:
            squares = [item for item in batch if isinstance(item, Square)]
            predictions = self._predict_all(squares, independent=independent)
            yield [item if isinstance(item, Unreadable) else predictions[item.image_id] for item in batch]

    def _predict_all(self, squares: Sequence[Square], *, independent: bool) -> dict[str, Prediction]:
        """The predictions of squares of whatever sides, by image."""
        found: dict[str, Prediction] = {}
        letterboxes = [square.letterbox for square in squares]
        for indices in grouped_by_side(letterboxes, self.images_at_once):
            part = [squares[index] for index in indices]
            found |= {
                prediction.image_id: prediction for prediction in self._predict_batch(part, independent=independent)
            }
        return found

    def predict_views(self, squares: Squares, image_ids: Sequence[str], *, independent: bool = False) -> ViewMaps:
        """Probabilities of the object in each view of each square, undone: (views, n, side, side), on the device.

        Raises ScoreError naming the images for which the model's answer is not finite.
        """
        with torch.inference_mode():
            side = squares.shape[-1]
            rows = min(self.forward_rows(side), self.images_at_once(side) * len(self.views))
            augmented = torch.cat([view.do(squares, image_ids) for view in self.views])
            logits = self._logits(augmented, rows, independent=independent)
            per_view = logits.reshape(len(self.views), len(image_ids), side, side)
            _check_finite(per_view, image_ids)
            return torch.stack([view.undo(maps) for view, maps in zip(self.views, per_view.sigmoid(), strict=True)])

    def _predict_batch(self, squares: Sequence[Square], *, independent: bool) -> list[Prediction]:
        pixels = torch.from_numpy(np.stack([square.pixels for square in squares]))
        with torch.inference_mode():
            views = self.predict_views(pixels, [square.image_id for square in squares], independent=independent)
            means = views.mean(0).cpu().numpy()
            uncertainties = self._uncertainties(views, means, squares)
        return [
            Prediction(
                image_id=square.image_id,
                letterbox=square.letterbox,
                square_probability=mean,
                square_uncertainty=uncertainty,
                uncertainty=self._score(uncertainty, mean, views[:, index], square.letterbox),
                views=views[:, index],
            )
            for index, (square, uncertainty, mean) in enumerate(zip(squares, uncertainties, means, strict=True))
        ]

    def _score(self, uncertainty: SquareMap, mean: SquareMap, views: Maps, letterbox: Letterbox) -> float:
        """The one number of an image: the mean of its map over the query's region, or 1 less the views' agreement."""
        if self.query.measure == "dice":
            agreement = agreement_of(views.cpu().numpy(), mean, letterbox)
            return 0.0 if agreement is None else 1.0 - agreement
        return _region_mean(uncertainty, mean, letterbox, self.query)

    def _uncertainties(self, views: ViewMaps, means: np.ndarray, squares: Sequence[Square]) -> Iterable[SquareMap]:
        """The uncertainty map of each square, by the query's measure."""
        if self.query.measure == "conventional":
            pairs = zip(means, squares, strict=True)
            return [conventional_disagreement(mean, square.pixels, square.letterbox) for mean, square in pairs]
        return np.asarray(MEASURES[self.query.measure](views).cpu().numpy())

    def _logits(self, squares: Squares, rows: int, *, independent: bool) -> Maps:
        """The backend's answers, `rows` squares at a time.

        A forward pass over fewer squares is computed by other kernels, whose last bits differ. Where images must be
        independent, a part that is not full is therefore filled up with black squares.
        """
        fill = independent and not self.backend.is_batch_invariant
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
