"""Conventional masks judged beside every model: what a laboratory has without an hour of anybody's time.

They are judged on the model's own validation images, so that one table shows both. Images whose mask was made by the
automatic method itself say nothing about it and are left out.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from plankseg.imaging.arrays import Grey, Mask
from plankseg.imaging.mask_metrics import dice_off_outline
from plankseg.imaging.masks import dice
from plankseg.imaging.threshold import automatic_mask, fixed_threshold_mask
from plankseg.learning.metrics import paired_bootstrap
from plankseg.pipeline.models.standings import Half, RivalVerdict, Scores, model_scores
from plankseg.storage.store import Store
from plankseg.storage.tables.catalogue import ImageRow
from plankseg.storage.tables.labels import LabelRow

AUTOMATIC, LOCAL, FIXED = "automatic mask (level)", "automatic mask (local contrast)", "fixed threshold"


def _automatic(grey: Grey, row: ImageRow) -> Mask | None:
    return automatic_mask(grey, instrument_area_px=row.instrument_area_px).mask


def _local_contrast(grey: Grey, row: ImageRow) -> Mask | None:
    return automatic_mask(grey, instrument_area_px=row.instrument_area_px, outline="local contrast").mask


def _fixed(grey: Grey, _: ImageRow) -> Mask | None:
    return fixed_threshold_mask(grey)


RIVALS: Mapping[str, Callable[[Grey, ImageRow], Mask | None]] = {
    AUTOMATIC: _automatic,
    LOCAL: _local_contrast,
    FIXED: _fixed,
}
"""The conventional methods by name; each gives a mask, or None where it rejects the image."""


def rival_scores(store: Store, labels: Mapping[str, LabelRow], load_mask: Callable[[str], Mask]) -> dict[str, Scores]:
    """The conventional methods on the labelled images whose masks they did not make; a method without any is left out.

    Ready for JSON: by method and image, Dice and Dice off the outline.
    """
    judged = sorted(image_id for image_id, label in labels.items() if label.origin != "threshold")
    rows = {row.image_id: row for row in store.catalogue.rows(judged)}
    found: dict[str, dict[str, list[float | None]]] = {name: {} for name in RIVALS}
    for image_id in judged:
        grey, truth = store.catalogue.load(image_id), load_mask(image_id)
        for name, method in RIVALS.items():
            mask = method(grey, rows[image_id])
            if mask is not None:
                found[name][image_id] = [round(dice(mask, truth), 5), round(dice_off_outline(mask, truth), 5)]
    return {name: scores for name, scores in found.items() if scores}


def rival_verdict(metrics: Mapping[str, Any]) -> RivalVerdict | None:
    """The model against its strongest rival, on the test half where there is one; None where no rival was judged."""
    rivals = metrics.get("rivals", {})
    half: Half = "test" if rivals.get("test") else "selection"
    own = model_scores(metrics, half)
    verdicts = [
        _against(own, name, theirs, half) for name, theirs in rivals.get(half, {}).items() if own.keys() & theirs
    ]
    return min(verdicts, key=lambda verdict: verdict.difference, default=None)


def _against(own: Scores, name: str, theirs: Scores, half: Half) -> RivalVerdict:
    ids = sorted(own.keys() & theirs.keys())
    ours = np.array([own[i][0] for i in ids], dtype=float)
    others = np.array([theirs[i][0] for i in ids], dtype=float)
    compared = paired_bootstrap(ours, others, rng=np.random.default_rng(0))
    return RivalVerdict(
        rival=name,
        images=len(ids),
        model_dice=float(ours.mean()),
        rival_dice=float(others.mean()),
        difference=compared.mean,
        low=compared.low,
        high=compared.high,
        half=half,
    )
