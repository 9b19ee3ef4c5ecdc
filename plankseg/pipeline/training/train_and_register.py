"""One training from the store's images to a registered model, for rounds, candidates and the final model alike."""

import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from plankseg.config import Recipe, Settings
from plankseg.imaging.postprocessing import FEWEST_TO_CHOOSE, choose_postprocessing
from plankseg.learning.metrics import bootstrap_interval, score_images
from plankseg.learning.process_rank import ProcessRank
from plankseg.learning.trainer import EpochReport, TrainedModel
from plankseg.pipeline.models.evaluation import Evaluator, scorecard_of
from plankseg.pipeline.models.recipes import postprocessing_of
from plankseg.pipeline.models.registry import FINAL
from plankseg.pipeline.models.rivals import rival_scores, rival_verdict
from plankseg.pipeline.models.shown_masks import keep_shown_masks
from plankseg.pipeline.pool.style_references import reference_squares
from plankseg.pipeline.training.multi_gpu import Initial, TrainingJob, train_ddp
from plankseg.pipeline.training.training_set import TrainingSet, mask_loader, mask_sha
from plankseg.storage.store import Store
from plankseg.storage.tables.models import ModelRow


@dataclass(frozen=True)
class Training:
    """Everything the weights of one training depend on. It starts from the weights of `start` where that is given."""

    recipe: Recipe
    data: TrainingSet
    round_number: int
    references: UInt8[np.ndarray, "n side side"] | None = None
    start: ModelRow | None = None

    @classmethod
    def of_store(
        cls, store: Store, recipe: Recipe, data: TrainingSet, round_number: int, start: ModelRow | None = None
    ) -> "Training":
        """With the style references of the store's pool, where the recipe needs them."""
        return cls(recipe, data, round_number, reference_squares(store, recipe, round_number), start)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all that the weights depend on; candidates and final models are found again by it."""
        data, labels = self.data, self.data.labels
        facts = {
            "network": self.recipe.network.model_dump(),
            "training": self.recipe.training.facts(),
            "examples": [[e.image_id, e.weight, labels[e.image_id].pixel_sha] for e in data.examples],
            "validation": [[e.image_id, labels[e.image_id].pixel_sha] for e in data.validation],
        }
        if self.references is not None:
            facts["references"] = hashlib.sha256(self.references.tobytes()).hexdigest()
        base = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        if self.round_number == 0 and self.start is None:
            return base
        # Stored fingerprints of final models begin with this word, so it stays.
        parts = [FINAL, base, self.start.model_id if self.start else "", str(self.round_number)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


Columns = Callable[[TrainedModel, Mapping[str, Any]], Mapping[str, Any]]
"""Gives, for a trained model and its metrics, the columns that say what becomes of it, and `metrics` to be added."""


@dataclass(frozen=True)
class Registration:
    """Where checkpoints are kept during a training, what is recorded of the model, and who hears of the epochs."""

    work_dir: Path
    columns: Columns
    report: Callable[[EpochReport], None] = lambda _: None


def train_and_register(store: Store, training: Training, settings: Settings, registration: Registration) -> ModelRow:
    """Train a model, measure it, and commit it with its weights; then its checkpoints are removed.

    A training that was killed goes on after its last whole epoch.

    Raises:
        TrainingError: nothing to train on, or the loss is no longer finite.
        WeightsError: the encoder's weights cannot be had.
    """
    model = _train(store, training, settings, registration)
    metrics = recorded_metrics(store, model, training, settings)
    columns = dict(registration.columns(model, metrics))
    metrics |= columns.pop("metrics", {})
    row = ModelRow(
        model_id=hashlib.sha256(model.weights).hexdigest(),
        recipe=training.recipe.model_dump_json(),
        data_version=training.data.data_version,
        side_px=model.framing.side_px,
        epochs=model.epochs,
        validation_dice=metrics["dice"],
        validation_set=training.data.validation_set,
        metrics=json.dumps(metrics, sort_keys=True),
        created_at=datetime.now(UTC),
        round=training.round_number,
        **columns,
    )
    store.models.put_weights(model.weights)
    store.models.commit(row)
    shutil.rmtree(registration.work_dir)  # the model is safe
    return row


def _train(store: Store, training: Training, settings: Settings, registration: Registration) -> TrainedModel:
    """Train on the images and masks of the store, see `plankseg.learning.trainer.train`.

    On several devices there is a process for each. Raises SettingsError when there are not so many.
    """
    data, recipe = training.data, training.recipe
    images = [example.image_id for example in (*data.examples, *data.validation)]
    job = TrainingJob(
        store=str(store.root),
        max_image_pixels=settings.max_image_pixels,
        device=settings.device,
        recipe=recipe,
        round_number=training.round_number,
        examples=data.examples,
        validation=data.validation,
        masks={image_id: mask_sha(data.labels[image_id]) for image_id in images},
        work_dir=registration.work_dir,
    )
    start = store.models.weights(training.start.model_id) if training.start else None
    process = ProcessRank(world_size=recipe.training.devices)
    initial = Initial(start, training.references)
    if process.world_size > 1:
        train_ddp(job, initial, registration.report)  # trains; the call below reads the result
    model = job.train(store, initial, registration.report, progress=sys.stderr.isatty(), process=process)
    if recipe.masks.postprocessing == "none":
        return model
    return _with_postprocessing(store, model, training, settings)


def _with_postprocessing(store: Store, model: TrainedModel, training: Training, settings: Settings) -> TrainedModel:
    """The model with the post-processing that is best on the images that decide, and their scores with it.

    Where these are too few to choose with, that of the model that the training started from stays.
    """
    ids = [example.image_id for example in training.data.validation]
    evaluator = Evaluator.of_weights(store, model.weights, training.recipe, model.framing, settings)
    greys, probabilities = zip(*evaluator.probabilities(ids), strict=True)
    load_mask = mask_loader(store, training.data.labels)
    truth = [load_mask(image_id) for image_id in ids]
    if len(ids) < FEWEST_TO_CHOOSE and training.start is not None:
        chosen = postprocessing_of(training.start)
    else:
        chosen = choose_postprocessing(probabilities, greys if training.data.has_validation_set else None, truth)
    masks = [chosen.mask_of(probability, grey) for probability, grey in zip(probabilities, greys, strict=True)]
    scores = score_images(ids, masks, truth)
    return replace(model, postprocessing=chosen, scores=scores)


def recorded_metrics(store: Store, model: TrainedModel, training: Training, settings: Settings) -> dict[str, Any]:
    """The recorded metrics of a training: scores, history, and all measures of the model.

    `dice` and `iou` are those of the images that decide; `test` those of the test half, None where there is none.
    """
    data = training.data
    dice = np.array([model.scores.dice[example.image_id] for example in data.validation])
    iou = np.array([model.scores.iou[example.image_id] for example in data.validation])
    low, high = bootstrap_interval(dice, rng=np.random.default_rng(0))
    plain = Evaluator.of_weights(store, model.weights, training.recipe, model.framing, settings)
    evaluator = plain.with_postprocessing(model.postprocessing)
    load_mask = mask_loader(store, data.labels)
    masks = {
        name: evaluator.masks_of([example.image_id for example in examples])
        for name, examples in (("selection", data.validation), ("test", data.test))
        if examples
    }
    measures = {name: scorecard_of(store, of_half, load_mask) for name, of_half in masks.items()}
    rivals = {
        name: rival_scores(store, {e.image_id: data.labels[e.image_id] for e in examples}, load_mask)
        for name, examples in (("selection", data.validation), ("test", data.test))
    }
    evaluated = {"measures": measures, "rivals": {half: scores for half, scores in rivals.items() if scores}}
    against = rival_verdict(evaluated)
    # Of a part of the source nobody knows the truth, so its masks are not shown.
    to_show = (masks.get("test") or masks["selection"]) if data.has_validation_set else {}
    return evaluated | {
        "against_rivals": asdict(against) if against else None,
        "postprocessing": asdict(model.postprocessing),
        "shown_masks": keep_shown_masks(store, to_show),
        "pool_masks": data.pool_masks,
        "test": _test_scores(measures.get("test")),
        "left_out": len(data.left_out),
        "unreadable": len(data.unreadable),
        "dice": float(dice.mean()),
        "dice_interval": [low, high],
        "iou": float(iou.mean()),
        "best_epoch": model.best_epoch,
        "examples": len(data.examples),
        "corrections": data.corrections,
        "loss": [epoch.loss for epoch in model.history],
        "validation_dice": [epoch.validation_dice for epoch in model.history],
        "share_of_corrections": [epoch.share_of_corrections for epoch in model.history],
        "seconds": sum(epoch.seconds for epoch in model.history),
    }


def _test_scores(card: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Dice with its bounds and IoU on the test half, in short."""
    if card is None:
        return None
    dice, iou = card["means"]["dice"], card["means"]["iou"]
    return {
        "dice": dice["mean"],
        "dice_interval": [dice["low"], dice["high"]],
        "iou": iou["mean"],
        "images": dice["images"],
    }
