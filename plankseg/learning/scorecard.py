"""The record of a model on images with masks: five measures per image, their means with bounds, and per taxon."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool

from plankseg.errors import ScoreError
from plankseg.imaging.arrays import Mask
from plankseg.imaging.mask_metrics import area_error, boundary_f, thin_part_recall
from plankseg.imaging.masks import dice, iou
from plankseg.learning.metrics import bootstrap_interval


class Measures(NamedTuple):
    """One image. Both masks empty: 1, 1, 1, none, 0; what is not defined for an image is None and left out of means."""

    dice: float
    iou: float
    boundary_f: float
    thin_part_recall: float | None
    area_error: float | None


def measure(predicted: Mask, truth: Bool[np.ndarray, "rows columns"]) -> Measures:
    """Compare a mask with the truth. Raises MaskShapeError when their sizes differ."""
    return Measures(
        dice=dice(predicted, truth),
        iou=iou(predicted, truth),
        boundary_f=boundary_f(predicted, truth),
        thin_part_recall=thin_part_recall(predicted, truth),
        area_error=area_error(predicted, truth),
    )


def scorecard(measured: Mapping[str, Measures], taxa: Mapping[str, str | None], *, seed: int = 0) -> dict[str, Any]:
    """The record of a model on a set of images, ready for JSON.

    `means` has for each measure its mean, 95 % bounds (bootstrap over the images) and the number of images it is
    defined for; `taxa` the number of images and the means per taxon, for images whose taxon is known; `images` the
    measures of each image in the order of `Measures`. Raises ScoreError when there is no image.
    """
    if not measured:
        raise ScoreError("A model cannot be evaluated without images: ingest or annotate a validation set.")
    rng = np.random.default_rng(seed)
    groups: dict[str, list[Measures]] = defaultdict(list)
    for image_id, values in measured.items():
        if taxon := taxa.get(image_id):
            groups[taxon].append(values)
    return {
        "means": {name: _mean(values, rng) for name, values in _columns(measured.values()).items()},
        "taxa": {
            taxon: {"images": len(rows)} | {name: _plain_mean(values) for name, values in _columns(rows).items()}
            for taxon, rows in sorted(groups.items())
        },
        "images": {image_id: [_rounded(value) for value in values] for image_id, values in measured.items()},
    }


def _columns(rows: Any) -> dict[str, list[float]]:
    """The defined values of each measure."""
    columns = zip(*rows, strict=True)
    return {
        name: [value for value in column if value is not None]
        for name, column in zip(Measures._fields, columns, strict=True)
    }


def _mean(values: list[float], rng: np.random.Generator) -> dict[str, float | int | None]:
    if not values:
        return {"mean": None, "low": None, "high": None, "images": 0}
    low, high = bootstrap_interval(values, rng=rng)
    return {"mean": float(np.mean(values)), "low": low, "high": high, "images": len(values)}


def _plain_mean(values: list[float]) -> float | None:
    return _rounded(float(np.mean(values))) if values else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 5)
