"""How unsure is the model of each of these images?

Every image is looked at in several views; the views of many images share a forward pass. The preprocessing is the
training's own (`learning.preparing`), and only one chunk of images is in memory at a time. A score depends on the
image, the model and the recipe, not on the company it is scored in: `score` goes through the ids in sorted order, so
even the last bit does not depend on the pool's order.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from jaxtyping import Float, Float32

from plankseg.config import QueryConfig
from plankseg.errors import ScoreError
from plankseg.imaging.arrays import Grey, Probability
from plankseg.imaging.letterbox import Letterbox
from plankseg.learning.precision import Precision, autocast
from plankseg.learning.preparing import batch_tensor
from plankseg.querying.uncertainty import SquareMap, mean_in_band, mean_inside, measure_of
from plankseg.querying.uncertainty import Views as ViewMaps
from plankseg.querying.views import Maps, Squares, View, views_of

Load = Callable[[str], Grey]
"""Gives the grey image of an id; it alone knows where images live."""


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
class _Seen:
    """What the model makes of one image, in the square."""

    image_id: str
    letterbox: Letterbox
    probability: SquareMap
    uncertainty_map: SquareMap
    uncertainty: float


def score(
    network: torch.nn.Module,
    image_ids: Sequence[str],
    load: Load,
    *,
    query: QueryConfig,
    side_px: int,
    device: torch.device | str,
    precision: Precision = "fp32",
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, float]:
    """The uncertainty of every image, in the order of the ids; an id that is given twice is scored once.

    `on_progress(done, total)` is called after every chunk, with numbers of images. The network is moved to `device` and
    stays there; whether it was in training mode is restored. bf16 ranks images as fp32 does (Spearman 0.998 on 64
    ZooScanNet images) and is faster where the processor has it; fp32 gives the same scores on every machine up to
    rounding. Raises ScoreError naming the image for which the model's
    answer is not finite, and what `load` raises.
    """
    wanted = sorted(set(image_ids))
    scores: dict[str, float] = {}
    for chunk in Looker(network, load, query, side_px, torch.device(device), precision).chunks(wanted):
        scores |= {seen.image_id: seen.uncertainty for seen in chunk}
        if on_progress is not None:
            on_progress(len(scores), len(wanted))
    return scores


def look(
    network: torch.nn.Module,
    image_ids: Sequence[str],
    load: Load,
    *,
    query: QueryConfig,
    side_px: int,
    device: torch.device | str,
    precision: Precision = "fp32",
) -> Iterator[Looked]:
    """Probability and uncertainty of each image at its native size, in the order given, repeated ids once.

    The uncertainty agrees with that of `score` up to float32's rounding. Raises what `score` raises.
    """
    wanted = list(dict.fromkeys(image_ids))
    for seen in chain.from_iterable(
        Looker(network, load, query, side_px, torch.device(device), precision).chunks(wanted)
    ):
        yield Looked(
            image_id=seen.image_id,
            probability=seen.letterbox.undo(seen.probability),
            uncertainty_map=seen.letterbox.undo(seen.uncertainty_map),
            uncertainty=seen.uncertainty,
        )


@dataclass(frozen=True)
class Looker:
    """One model with everything it needs to look at any image."""

    network: torch.nn.Module
    load: Load
    query: QueryConfig
    side_px: int
    device: torch.device
    precision: Precision

    def chunks(self, image_ids: Sequence[str]) -> Iterator[list[_Seen]]:
        """As many images at a time as have all their views in one forward pass, at least one."""
        views = views_of(self.query)
        step = max(1, self.query.forward_batch // len(views))
        self.network.to(device=self.device, memory_format=torch.channels_last)
        for start in range(0, len(image_ids), step):
            yield self._look_at(image_ids[start : start + step], views)

    def in_views(self, squares: Squares, image_ids: Sequence[str], views: Sequence[View]) -> ViewMaps:
        """Probabilities of the object in each view of each square, undone: (views, n, side, side), on the device.

        Raises ScoreError naming the images for which the model's answer is not finite.
        """
        with torch.inference_mode():
            logits = self._logits(torch.cat([view.do(squares, image_ids) for view in views]))
            per_view = logits.reshape(len(views), len(image_ids), self.side_px, self.side_px)
            _check_finite(per_view, image_ids)
            return torch.stack([view.undo(seen) for view, seen in zip(views, per_view.sigmoid(), strict=True)])

    def _look_at(self, image_ids: Sequence[str], views: Sequence[View]) -> list[_Seen]:
        letterboxes, squares = self._squares(image_ids)
        with torch.inference_mode():
            undone = self.in_views(squares, image_ids, views)
            maps = measure_of(self.query)(undone).cpu().numpy()
            means = undone.mean(0).cpu().numpy()
        return [
            _Seen(image_id, letterbox, mean, map_, _region_mean(map_, mean, letterbox, self.query))
            for image_id, letterbox, mean, map_ in zip(image_ids, letterboxes, means, maps, strict=True)
        ]

    def _squares(self, image_ids: Sequence[str]) -> tuple[list[Letterbox], Squares]:
        letterboxes, squares = [], []
        for image_id in image_ids:
            grey = self.load(image_id)
            letterboxes.append(Letterbox.of(grey.shape, self.side_px))
            squares.append(letterboxes[-1].apply(grey))
        return letterboxes, torch.from_numpy(np.stack(squares))

    def _logits(self, squares: Squares) -> Maps:
        """The network's answers, `forward_batch` squares at a time."""
        with _evaluating(self.network), autocast(self.precision, self.device):
            prepared = torch.split(batch_tensor(squares.numpy()), self.query.forward_batch)
            return torch.cat([self._forward(part) for part in prepared])

    def _forward(self, prepared: Float[torch.Tensor, "n 3 h w"]) -> Maps:
        logits: torch.Tensor = self.network(prepared.to(device=self.device, memory_format=torch.channels_last))
        expected = (len(prepared), 1, *prepared.shape[2:])
        if tuple(logits.shape) != expected:
            raise ScoreError(
                f"The model answers {tuple(logits.shape)} where {expected} was expected: one logit per pixel. "
                "Score with a network from build_network."
            )
        return logits[:, 0].float()


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


@contextmanager
def _evaluating(network: torch.nn.Module) -> Iterator[None]:
    """Evaluation mode, restored module by module afterwards, and exact, repeatable convolutions on a GPU.

    In training mode batch-norm would make a score depend on the images beside it; TF32 would blur its fourth digit.
    """
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        for module, was_training in modes:
            module.training = was_training  # not .train(): it would wake the batch-norm of a frozen encoder
