"""Which backend is the fastest of those that see the same as plain fp32? Tried on real images, a few seconds each.

A backend agrees when its masks (Dice) and the order of its uncertainties (Spearman) are those of the reference, within
the recipe's bounds. Of those that agree the fastest is taken, as measured on these images: decoding, views and
measure included, making and compiling it left out.
"""

import time
from collections.abc import Mapping, Sequence
from statistics import fmean, median

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import rankdata

from plankseg.config import BackendName, FrozenModel, InferenceConfig, QueryConfig
from plankseg.errors import BackendError
from plankseg.imaging.arrays import Grey
from plankseg.imaging.masks import dice
from plankseg.learning.backends import REFERENCE, make_backend
from plankseg.querying.scoring import Looker, Seen


class Trial(FrozenModel):
    """How one backend did. `refused` says why it could not be tried; the figures are then None."""

    backend: BackendName
    dice: float | None = None
    rank_correlation: float | None = None
    images_per_s: float | None = None
    agrees: bool = False
    refused: str | None = None


class Inference(FrozenModel):
    """With what a model looked at images: `backend`, and why it was taken. Without trials it was not for the speed."""

    backend: BackendName
    machine: str
    reason: str
    images: int = 0
    trials: tuple[Trial, ...] = ()

    @property
    def images_per_s(self) -> float | None:
        """How fast the backend was when it was tried, if it was."""
        return next((trial.images_per_s for trial in self.trials if trial.backend == self.backend), None)

    def table(self) -> list[dict[str, object]]:
        """The trials, as people read them; `chosen` marks the one that was taken."""
        rows = [trial.model_dump() | {"chosen": trial.backend == self.backend} for trial in self.trials]
        return rows or [{"backend": self.backend, "chosen": True}]


def calibrate(
    network: torch.nn.Module,
    greys: Mapping[str, Grey],
    names: Sequence[BackendName],
    *,
    query: QueryConfig,
    side_px: int,
    device: torch.device,
    bounds: InferenceConfig,
) -> tuple[Trial, ...]:
    """Try each backend on the images and compare it with the first, the reference.

    What cannot be made here is a trial that was refused, with the reason. Raises what the reference itself raises.
    """
    assert names[0] == REFERENCE
    expected, speed = _try(REFERENCE, network, greys, query=query, side_px=side_px, device=device)
    trials = [Trial(backend=REFERENCE, dice=1.0, rank_correlation=1.0, images_per_s=speed, agrees=True)]
    for name in names[1:]:
        try:
            seen, speed = _try(name, network, greys, query=query, side_px=side_px, device=device)
        except (BackendError, RuntimeError) as error:  # torch, Triton and OpenVINO raise RuntimeErrors of their own
            trials.append(Trial(backend=name, refused=str(error).strip().split("\n")[0][:300]))
            continue
        trials.append(_compared(name, seen, expected, speed, bounds))
    return tuple(trials)


def fastest(trials: Sequence[Trial]) -> Trial:
    """The fastest of those that agree."""
    return max((trial for trial in trials if trial.agrees), key=lambda trial: trial.images_per_s or 0.0)


def _try(
    name: BackendName,
    network: torch.nn.Module,
    greys: Mapping[str, Grey],
    *,
    query: QueryConfig,
    side_px: int,
    device: torch.device,
) -> tuple[list[Seen], float]:
    """What it sees in each image, and how many images a second by the median of its forward passes."""
    looker = Looker(make_backend(name, network, device), greys.__getitem__, query, side_px)
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
    name: BackendName, seen: Sequence[Seen], expected: Sequence[Seen], speed: float, bounds: InferenceConfig
) -> Trial:
    pairs = list(zip(seen, expected, strict=True))
    overlap = fmean(dice(_mask(one), _mask(other)) for one, other in pairs)
    correlation = rank_correlation([one.uncertainty for one in seen], [other.uncertainty for other in expected])
    agrees = overlap >= bounds.min_dice and correlation >= bounds.min_rank_correlation
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
