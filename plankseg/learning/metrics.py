"""Scores of predicted masks, image by image at native size, and bootstrap intervals of their means."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from plankseg.errors import ScoreError
from plankseg.imaging.masks import dice, iou

FEWEST_TO_PREFER = 10
"""Fewer images can all be better by chance."""


@dataclass(frozen=True)
class ImageScores:
    """Dice and IoU per image, keyed by image id; both masks empty counts as 1."""

    dice: Mapping[str, float]
    iou: Mapping[str, float]

    @property
    def mean_dice(self) -> float:
        """Mean over the images, each counting the same."""
        return float(np.mean(list(self.dice.values())))


class Interval(NamedTuple):
    """Bounds of a mean."""

    low: float
    high: float


class PairedDifference(NamedTuple):
    """Mean of a - b over the same images, and its 95 % bounds: above 0 means that a is better."""

    mean: float
    low: float
    high: float


def score_images(
    image_ids: Sequence[str],
    predicted: Sequence[Bool[np.ndarray, "_ _"]],
    truth: Sequence[Bool[np.ndarray, "_ _"]],
) -> ImageScores:
    """Compare masks at native size, image by image.

    Raises ScoreError when there is no image or one of them twice, MaskShapeError when two masks differ in size.
    """
    if not image_ids or len(set(image_ids)) != len(image_ids):
        raise ScoreError(
            f"{len(image_ids)} images, {len(set(image_ids))} different ones: give each once, at least one."
        )
    pairs = list(zip(image_ids, predicted, truth, strict=True))
    return ImageScores(
        dice={image_id: dice(ours, theirs) for image_id, ours, theirs in pairs},
        iou={image_id: iou(ours, theirs) for image_id, ours, theirs in pairs},
    )


def bootstrap_interval(
    values: Sequence[float] | np.ndarray, *, rng: np.random.Generator, draws: int = 2000, level: float = 0.95
) -> Interval:
    """Percentile bounds of the mean when images are resampled (Efron 1979); a single image gives a width of 0.

    Raises ScoreError when there is no value or one is not finite.
    """
    sample = _finite(values)
    means = np.array([sample[rng.integers(sample.size, size=sample.size)].mean() for _ in range(draws)])
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def paired_bootstrap(
    a: Sequence[float] | np.ndarray,
    b: Sequence[float] | np.ndarray,
    *,
    rng: np.random.Generator,
    draws: int = 2000,
) -> PairedDifference:
    """The mean of a - b on the same images, given in the same order, with its 95 % bounds.

    Raises ScoreError when the two have different lengths, when they are empty, or when a value is not finite.
    """
    ours, theirs = _finite(a), _finite(b)
    if ours.size != theirs.size:
        raise ScoreError(f"{ours.size} values cannot be paired with {theirs.size}: score both on the same images.")
    difference = ours - theirs
    low, high = bootstrap_interval(difference, rng=rng, draws=draws)
    return PairedDifference(float(difference.mean()), low, high)


def is_clearly_better(scores: ImageScores, others: ImageScores) -> bool:
    """Whether Dice is better than the other on the same images, at least `FEWEST_TO_PREFER`, by more than chance.

    More than chance: the 95 % bounds of the mean difference are above 0.
    """
    ids = sorted(scores.dice)
    if len(ids) < FEWEST_TO_PREFER:
        return False
    ours, theirs = ([of.dice[image_id] for image_id in ids] for of in (scores, others))
    return paired_bootstrap(ours, theirs, rng=np.random.default_rng(0)).low > 0


def _finite(values: Sequence[float] | np.ndarray) -> np.ndarray:
    sample = np.asarray(values, dtype=np.float64).ravel()
    if sample.size == 0 or not np.isfinite(sample).all():
        bad = int(np.count_nonzero(~np.isfinite(sample)))
        raise ScoreError(f"{sample.size} scores, {bad} of them not finite: give at least one, all of them numbers.")
    return sample
