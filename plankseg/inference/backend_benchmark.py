"""Which backend is the fastest of those that see the same as plain fp32? Tried on real images, a few seconds each.

A backend agrees when its masks (Dice) and the order of its uncertainties (Spearman) are those of the reference, within
the recipe's bounds. Of those that agree the fastest is taken, as measured on these images: decoding, views and
measure included, making and compiling it left out. The network in 8 bits only has to rank alike: no mask comes from it.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

import numpy as np
import torch
from jaxtyping import Float, UInt8
from scipy.stats import rankdata

from plankseg.config import BackendName, FrozenModel, InferenceConfig, QueryConfig, ScoringName
from plankseg.errors import BackendError
from plankseg.imaging.arrays import Grey
from plankseg.imaging.letterbox import Letterbox
from plankseg.imaging.masks import dice
from plankseg.inference.backends import REFERENCE, Backend, make_backend
from plankseg.inference.predictor import Seen, TTAPredictor
from plankseg.inference.quantization import quantize, quantized_backend
from plankseg.inference.tta import views_of

INT8: ScoringName = "openvino-int8"
QUANTIZING_PAYS_S = 30.0  # of scoring by the others: half of that is saved, and up to ten seconds quantize the network


class Trial(FrozenModel):
    """How one backend did. `refused` says why it could not be tried; the figures are then None."""

    backend: ScoringName
    dice: float | None = None
    rank_correlation: float | None = None
    images_per_s: float | None = None
    agrees: bool = False
    refused: str | None = None


class Inference(FrozenModel):
    """With what a model looked at images: `backend`, and why it was taken. Without trials it was not for the speed.

    `quantized` names the object that holds the network in 8 bits, where images were ranked by that and only their
    masks come from `backend`.
    """

    backend: BackendName
    machine: str
    reason: str
    images: int = 0
    trials: tuple[Trial, ...] = ()
    quantized: str | None = None

    @property
    def ranks_with(self) -> ScoringName:
        """Where the scores come from."""
        return INT8 if self.quantized else self.backend

    @property
    def images_per_s(self) -> float | None:
        """How fast images were scored when that was tried, if it was."""
        return next((trial.images_per_s for trial in self.trials if trial.backend == self.ranks_with), None)

    def describe(self) -> str:
        """The choice in words."""
        by = f"scores by {INT8}, masks by {self.backend}" if self.quantized else self.backend
        return f"{by}: {self.reason}. {self.machine}"

    def table(self) -> list[dict[str, object]]:
        """The trials, as people read them; `chosen` says for what, and is empty for the others."""
        rows = [trial.model_dump() for trial in self.trials] or [{"backend": self.backend}]
        used = {"scores": self.ranks_with, "masks": self.backend}
        return [
            row | {"chosen": " and ".join(what for what, name in used.items() if name == row["backend"])}
            for row in rows
        ]


@dataclass(frozen=True)
class Calibration:
    """How the backends did, the reference first, and the network in 8 bits if that could be made."""

    trials: tuple[Trial, ...]
    quantized: bytes | None = None

    @property
    def for_scores(self) -> ScoringName:
        """The fastest of those that agree."""
        return _fastest(self.trials).backend

    @property
    def for_masks(self) -> BackendName:
        """The fastest of those that agree and are not in 8 bits."""
        name = _fastest([trial for trial in self.trials if trial.backend != INT8]).backend
        assert name != "openvino-int8"
        return name


def _fastest(trials: Sequence[Trial]) -> Trial:
    return max((trial for trial in trials if trial.agrees), key=lambda trial: trial.images_per_s or 0.0)


def calibrate(
    network: torch.nn.Module,
    greys: Mapping[str, Grey],
    names: Sequence[ScoringName],
    *,
    query: QueryConfig,
    side_px: int,
    device: torch.device,
    bounds: InferenceConfig,
    to_score: int = 0,
) -> Calibration:
    """Try each backend on the images and compare it with the first, the reference.

    One in fp32 is passed over when the same in bf16, tried before it, agrees: half as fast, it would not be chosen.
    So is the network in 8 bits, named last, where `to_score` images are too few for it to pay.
    What cannot be made here is a trial that was refused, with the reason. Raises what the reference itself raises.
    """
    assert names[0] == REFERENCE
    quantized: bytes | None = None

    def made(name: ScoringName) -> Backend:
        nonlocal quantized
        if name != "openvino-int8":
            return make_backend(name, network, device)
        quantized = quantize(network, _squares(greys, query, side_px))
        return quantized_backend(quantized, device)

    def tried(name: ScoringName) -> tuple[list[Seen], float]:
        return _try(lambda: made(name), greys, query=query, side_px=side_px)

    expected, speed = tried(REFERENCE)
    trials = [Trial(backend=REFERENCE, dice=1.0, rank_correlation=1.0, images_per_s=speed, agrees=True)]
    for name in names[1:]:
        if any(trial.agrees and trial.backend == f"{name}-bf16" for trial in trials):
            continue
        if name == INT8 and to_score < QUANTIZING_PAYS_S * (_fastest(trials).images_per_s or 0.0):
            continue
        try:
            seen, speed = tried(name)
        except (BackendError, RuntimeError) as error:  # torch, Triton and OpenVINO raise RuntimeErrors of their own
            trials.append(Trial(backend=name, refused=str(error).strip().split("\n")[0][:300]))
            continue
        trials.append(_compared(name, seen, expected, speed, bounds))
    return Calibration(tuple(trials), quantized)


def _squares(greys: Mapping[str, Grey], query: QueryConfig, side_px: int) -> UInt8[torch.Tensor, "n side side"]:
    """What a network sees of these images: all of them in one view after the other."""
    ids = sorted(greys)
    plain = np.stack([Letterbox.of(greys[image_id].shape, side_px).apply(greys[image_id]) for image_id in ids])
    return torch.cat([view.do(torch.from_numpy(plain), ids) for view in views_of(query)])


def _try(
    make: Callable[[], Backend], greys: Mapping[str, Grey], *, query: QueryConfig, side_px: int
) -> tuple[list[Seen], float]:
    """What a backend sees in each image, and how many images a second by the median of its forward passes."""
    looker = TTAPredictor(make(), greys.__getitem__, query, side_px)
    ids = sorted(greys)
    for _ in looker.chunks(ids[:1], apart=True):
        pass  # the first forward pass compiles, plans and warms up
    seen: list[Seen] = []
    seconds: list[float] = []
    began = time.perf_counter()
    for chunk in looker.chunks(ids, apart=True):
        seen += [one for one in chunk if isinstance(one, Seen)]
        seconds.append((time.perf_counter() - began) / len(chunk))
        began = time.perf_counter()
    return seen, 1.0 / median(seconds)


def _compared(
    name: ScoringName, seen: Sequence[Seen], expected: Sequence[Seen], speed: float, bounds: InferenceConfig
) -> Trial:
    pairs = list(zip(seen, expected, strict=True))
    overlap = fmean(dice(_mask(one), _mask(other)) for one, other in pairs)
    correlation = rank_correlation([one.uncertainty for one in seen], [other.uncertainty for other in expected])
    same_masks = name == INT8 or overlap >= bounds.min_dice
    agrees = same_masks and correlation >= bounds.min_rank_correlation
    return Trial(backend=name, dice=overlap, rank_correlation=correlation, images_per_s=speed, agrees=agrees)


def _mask(seen: Seen) -> np.ndarray:
    """The pre-mask in the square, on the image's own pixels."""
    return np.asarray(seen.probability[seen.letterbox.inside] >= 0.5)


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> float:
    """Spearman's correlation, equal values sharing their rank; where either is constant 1 if both are, else 0."""
    ranks: Float[np.ndarray, "2 n"] = np.stack([rankdata(one), rankdata(other)])
    spread = np.ptp(ranks, axis=1) > 0
    if not spread.all():
        return 0.0 if spread.any() else 1.0
    return float(np.corrcoef(ranks)[0, 1])
