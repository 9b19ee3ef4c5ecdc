"""Benchmark of the inference backends on real images: speed, and agreement with the reference (plain fp32).

A backend agrees when its masks (Dice) and the order of its uncertainties (Spearman) are those of the reference, within
the recipe's bounds. The fastest of those that agree is chosen. The time includes reading, views and the uncertainty,
but not making and compiling the backend. The int8 network only has to rank alike: no mask comes from it.
"""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

import numpy as np
import torch
from jaxtyping import Float, UInt8

from plankseg.config import BackendName, FrozenModel, InferenceConfig, QueryConfig, ScoringName
from plankseg.errors import BackendError
from plankseg.imaging.arrays import Grey
from plankseg.imaging.framing import Framing
from plankseg.imaging.masks import dice
from plankseg.inference.backends import REFERENCE, Backend, make_backend
from plankseg.inference.prediction import Prediction
from plankseg.inference.predictor import TTAPredictor
from plankseg.inference.quantization import quantize, quantized_backend
from plankseg.inference.tta import views_of

INT8: ScoringName = "openvino-int8"
MIN_SECONDS_FOR_INT8 = 30.0  # of scoring by the others: int8 saves half of it, and quantizing takes up to ten seconds


HEADINGS = {
    "backend": "way of computing",
    "dice": "Dice to torch",
    "rank_correlation": "same order as torch (1: exactly)",
    "images_per_s": "images per second",
    "agrees": "agrees with torch",
    "refused": "why it was not tried",
}
"""What the fields of a trial are called for people."""

FEATURES = re.compile(r" with [a-z0-9_, ]+(?=;)")
"""The flags of a processor, which say nothing to people."""


class Trial(FrozenModel):
    """The result of one backend. `refused` says why it could not be tried; the figures are then None."""

    backend: ScoringName
    dice: float | None = None
    rank_correlation: float | None = None
    images_per_s: float | None = None
    agrees: bool = False
    refused: str | None = None


class BackendChoice(FrozenModel):
    """The backend that computes a model, and the reason; `trials` are empty where it was not chosen by its speed.

    `quantized` is the hash of the stored int8 network, where scores come from that and only masks from `backend`.
    """

    backend: BackendName
    machine: str
    reason: str
    images: int = 0
    trials: tuple[Trial, ...] = ()
    quantized: str | None = None

    @property
    def score_backend(self) -> ScoringName:
        """The name of the backend that computes the scores."""
        return INT8 if self.quantized else self.backend

    @property
    def images_per_s(self) -> float | None:
        """Images scored per second in the trial, if there was one."""
        return next((trial.images_per_s for trial in self.trials if trial.backend == self.score_backend), None)

    def describe(self) -> str:
        """The choice as a sentence."""
        by = f"uncertainties with {INT8}, masks with {self.backend}" if self.quantized else f"with {self.backend}"
        machine = FEATURES.sub("", self.machine)
        return f"For computer support: computed {by}, {self.reason}. Machine: {machine}."

    def table(self) -> list[dict[str, object]]:
        """The trials as rows of a table, for people; `used for` is empty for a backend that was not chosen."""
        rows = [trial.model_dump() for trial in self.trials] or [{"backend": self.backend}]
        used = {"uncertainties": self.score_backend, "masks": self.backend}
        return [
            {HEADINGS[name]: value for name, value in row.items()}
            | {"used for": " and ".join(what for what, name in used.items() if name == row["backend"])}
            for row in rows
        ]


@dataclass(frozen=True)
class BenchmarkResult:
    """The trials of all backends, the reference first, and the int8 network if it could be made."""

    trials: tuple[Trial, ...]
    quantized: bytes | None = None

    @property
    def for_scores(self) -> ScoringName:
        """The fastest of those that agree."""
        return _fastest(self.trials).backend

    @property
    def for_masks(self) -> BackendName:
        """The fastest of those that agree, without int8."""
        name = _fastest([trial for trial in self.trials if trial.backend != INT8]).backend
        assert name != "openvino-int8"
        return name


def _fastest(trials: Sequence[Trial]) -> Trial:
    return max((trial for trial in trials if trial.agrees), key=lambda trial: trial.images_per_s or 0.0)


@dataclass(frozen=True)
class BenchmarkConfig:
    """How the backends are tried: the views and the measure, the sizes of the squares, and the bounds of agreement.

    `to_score` is the number of images to be scored afterwards, which decides whether int8 is worth quantizing.
    """

    query: QueryConfig
    framing: Framing
    bounds: InferenceConfig
    to_score: int = 0


def benchmark_backends(
    network: torch.nn.Module,
    greys: Mapping[str, Grey],
    names: Sequence[ScoringName],
    config: BenchmarkConfig,
    device: torch.device,
) -> BenchmarkResult:
    """Try each backend on the images and compare it with the first, the reference.

    A backend in fp32 is skipped when the same one in bf16, tried before it, agrees: it is half as fast and would not be
    chosen. int8, named last, is skipped where there are too few images to score. A backend that is not available here
    is a refused trial, with the reason. Raises what the reference itself raises.
    """
    assert names[0] == REFERENCE
    benchmark = _Benchmark(network, greys, config, device)
    expected, speed = benchmark.run(REFERENCE)
    trials = [Trial(backend=REFERENCE, dice=1.0, rank_correlation=1.0, images_per_s=speed, agrees=True)]
    for name in names[1:]:
        if any(trial.agrees and trial.backend == f"{name}-bf16" for trial in trials):
            continue
        if name == INT8 and config.to_score < MIN_SECONDS_FOR_INT8 * (_fastest(trials).images_per_s or 0.0):
            continue
        try:
            predictions, speed = benchmark.run(name)
        except (BackendError, RuntimeError) as error:  # torch, Triton and OpenVINO raise RuntimeErrors of their own
            trials.append(Trial(backend=name, refused=str(error).strip().split("\n")[0][:300]))
            continue
        trials.append(_compare(name, predictions, expected, speed, config.bounds))
    return BenchmarkResult(tuple(trials), benchmark.quantized)


class _Benchmark:
    """Runs one backend after the other on the same images; `quantized` is the int8 network once it was made."""

    def __init__(
        self, network: torch.nn.Module, greys: Mapping[str, Grey], config: BenchmarkConfig, device: torch.device
    ) -> None:
        self.quantized: bytes | None = None
        self._network, self._greys, self._config, self._device = network, greys, config, device
        self._ids = sorted(greys)

    def run(self, name: ScoringName) -> tuple[list[Prediction], float]:
        """The predictions of a backend, and its images per second by the median of its forward passes."""
        backend = self._make(name)
        predictor = TTAPredictor(backend, self._greys.__getitem__, self._config.query, self._config.framing)
        for _ in predictor.batches(self._one_of_each_side(), independent=True):
            pass  # the first forward pass of each side compiles, plans and warms up
        predictions: list[Prediction] = []
        seconds: list[float] = []
        started = time.perf_counter()
        for batch in predictor.batches(self._ids, independent=True):
            predictions += [item for item in batch if isinstance(item, Prediction)]
            seconds.append((time.perf_counter() - started) / len(batch))
            started = time.perf_counter()
        return predictions, 1.0 / median(seconds)

    def _make(self, name: ScoringName) -> Backend:
        if name != "openvino-int8":
            return make_backend(name, self._network, self._device)
        self.quantized = quantize(self._network, self._calibration_squares())
        return quantized_backend(self.quantized, self._device)

    def _one_of_each_side(self) -> list[str]:
        """An image for each side of the squares that the images fill."""
        framing = self._config.framing
        by_side = {framing.letterbox(self._greys[image_id].shape).side: image_id for image_id in self._ids}
        return list(by_side.values())

    def _calibration_squares(self) -> list[UInt8[torch.Tensor, "_ _ _"]]:
        """All images in one view after the other."""
        views, letterbox = views_of(self._config.query), self._config.framing.letterbox
        plain = {i: torch.from_numpy(letterbox(grey.shape).apply(grey))[None] for i, grey in self._greys.items()}
        return [view.do(plain[image_id], [image_id]) for view in views for image_id in self._ids]


def _compare(
    name: ScoringName,
    predictions: Sequence[Prediction],
    expected: Sequence[Prediction],
    speed: float,
    bounds: InferenceConfig,
) -> Trial:
    pairs = zip(predictions, expected, strict=True)
    overlap = fmean(dice(_square_mask(prediction), _square_mask(other)) for prediction, other in pairs)
    correlation = rank_correlation(_uncertainties(predictions), _uncertainties(expected))
    same_masks = name == INT8 or overlap >= bounds.min_dice
    agrees = same_masks and correlation >= bounds.min_rank_correlation
    return Trial(backend=name, dice=overlap, rank_correlation=correlation, images_per_s=speed, agrees=agrees)


def _uncertainties(predictions: Sequence[Prediction]) -> list[float]:
    return [prediction.uncertainty for prediction in predictions]


def _square_mask(prediction: Prediction) -> np.ndarray:
    """The predicted mask in the square, on the image's own pixels."""
    return np.asarray(prediction.square_probability[prediction.letterbox.inside] >= 0.5)


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> float:
    """Spearman's correlation, equal values sharing their rank; where either is constant 1 if both are, else 0."""
    from scipy.stats import rankdata  # a second to load, and most runs try nothing

    ranks: Float[np.ndarray, "2 n"] = np.stack([rankdata(one), rankdata(other)])
    spread = np.ptp(ranks, axis=1) > 0
    if not spread.all():
        return 0.0 if spread.any() else 1.0
    return float(np.corrcoef(ranks)[0, 1])
