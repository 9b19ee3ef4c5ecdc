"""The verdict on a new model: promoted unless it is significantly worse than the active one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from plankseg.config import Settings
from plankseg.learning.metrics import ImageScores, paired_bootstrap, score_images
from plankseg.pipeline.models.evaluation import Evaluator
from plankseg.pipeline.models.registry import PairedComparison
from plankseg.pipeline.models.standings import recorded_verdict
from plankseg.pipeline.training.training_set import TrainingSet, mask_loader
from plankseg.storage.store import Store
from plankseg.storage.tables.models import ModelRow

MIN_IMAGES_TO_COMPARE = 6


@dataclass(frozen=True)
class Verdict:
    """Whether a new model is promoted, why, and the comparison with the active model where there is one."""

    promoted: bool
    reason: str
    comparison: PairedComparison | None = None


def compare_with_active(store: Store, scores: ImageScores, data: TrainingSet, settings: Settings) -> Verdict:
    """Promote unless significantly worse than the active model on the same images (paired bootstrap, 95 %).

    With fewer than six images all differ in one direction by chance more often than once in twenty (sign test), and a
    bootstrap would call that significant: then the model is neither worse nor better. A holdout of the source
    refuses no model: each step towards the pool costs a little there.
    """
    active = store.models.active()
    if active is None:
        return Verdict(True, "it is the first model, so it is used")
    before = evaluate(store, active, data, settings)
    ids = sorted(before.dice)
    difference = paired_bootstrap(
        np.array([scores.dice[i] for i in ids]),
        np.array([before.dice[i] for i in ids]),
        rng=np.random.default_rng(0),
    )
    enough = len(ids) >= MIN_IMAGES_TO_COMPARE
    worse, better = enough and difference.high < 0, enough and difference.low > 0
    outcome = "worse than" if worse else "better than" if better else "not clearly different from"
    source_only = not data.has_validation_set
    if not enough:
        outcome = f"too few images (below {MIN_IMAGES_TO_COMPARE}) to tell it from"
    reason = (
        f"{outcome} model {active.round}: Dice {difference.mean:+.3f} (95 % confidence interval {difference.low:+.3f} "
        f"to {difference.high:+.3f}) on the {data.validation_set}"
    )
    if worse and source_only:
        reason = (
            f"Dice {difference.mean:+.3f} on the {data.validation_set}: images of the source alone refuse no model, "
            "since each step towards the pool costs a little there. Run 'annotate_validation' to judge on the pool"
        )
    return Verdict(not worse or source_only, reason, PairedComparison(difference.mean, difference.low, difference.high))


def with_rival(reason: str, metrics: Mapping[str, Any]) -> str:
    """The comparison with the conventional method, where that was evaluated too, then a promotion's reason."""
    against = recorded_verdict(metrics)
    return f"{against.words()}; {reason}" if against else reason


def evaluate(store: Store, model: ModelRow, data: TrainingSet, settings: Settings) -> ImageScores:
    """Dice and IoU of a stored model per validation image, at native size."""
    ids = [example.image_id for example in data.validation]
    masks = list(Evaluator.of_model(store, model, settings).masks(ids))
    load_mask = mask_loader(store, data.labels)
    return score_images(ids, masks, [load_mask(image_id) for image_id in ids])
