"""How does a model come from the store? Model 0 from the source, model n with the corrections of rounds 1 to n."""

import hashlib
import json
import logging
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from plankseg.config import Recipe, Settings, TrainingConfig
from plankseg.errors import TrainingError
from plankseg.imaging.arrays import Mask
from plankseg.imaging.masks import decode_mask
from plankseg.imaging.postprocessing import choose_postprocessing
from plankseg.learning.metrics import ImageScores, bootstrap_interval, paired_bootstrap, score_images
from plankseg.learning.process_rank import ProcessRank
from plankseg.learning.trainer import EpochReport, Example, TrainedModel
from plankseg.pipeline.models.evaluation import full_scorecard, predicted_masks
from plankseg.pipeline.models.recipes import postprocessing_of, recipe_of
from plankseg.pipeline.models.registry import PairedComparison
from plankseg.pipeline.models.rivals import rival_scores, rival_verdict
from plankseg.pipeline.models.standings import recorded_verdict
from plankseg.pipeline.pool.near_duplicates import complete_hashes, near_duplicate_ids
from plankseg.pipeline.pool.style_references import reference_squares
from plankseg.pipeline.pool.unreadable import unreadable
from plankseg.pipeline.pool.validation_split import fix_halves
from plankseg.pipeline.training.multi_gpu import TrainingJob, train_ddp
from plankseg.stable_hash import stable_hash
from plankseg.storage.store import Store
from plankseg.storage.tables.labels import LabelRow
from plankseg.storage.tables.models import ModelRow

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingSet:
    """What a model is trained and judged on, frozen at one version of the label table.

    `validation` are the images that choose (best epoch, plateau, promotion), `validation_set` says in words which those
    are; `test` no choice ever sees; `left_out` would be trained on if they were not so like the validation set;
    `unreadable` have a label but cannot be read.
    """

    examples: tuple[Example, ...]
    validation: tuple[Example, ...]
    validation_set: str
    labels: Mapping[str, LabelRow]
    data_version: int
    test: tuple[Example, ...] = ()
    left_out: frozenset[str] = frozenset()
    pool_masks: int = 0
    has_validation_set: bool = True
    unreadable: frozenset[str] = frozenset()

    @property
    def corrections(self) -> int:
        """How many of the examples a person answered."""
        return sum(self.labels[example.image_id].by_person for example in self.examples)

    def fingerprint(self, recipe: Recipe, round_number: int) -> str:
        """Names the folder of checkpoints: the same data, recipe and round resume the same training."""
        parts = [recipe.model_dump_json(), str(round_number)]
        parts += [f"{e.image_id}:{self.labels[e.image_id].pixel_sha}" for e in (*self.examples, *self.validation)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def training_set(store: Store, recipe: Recipe, round_number: int) -> TrainingSet:
    """Collect the usable labels: source masks weigh 1, answers of rounds 1 to n weigh `correction_weight`.

    Neither the images of the validation set nor what is like them is trained on. Its selection half chooses, its test
    half only reports; fewer than four images choose all, and there is no test. Where there is no validation set, a
    fixed share of the source chooses, drawn by a hash of the image so that it is the same in every round, without test.

    Raises:
        TrainingError: nothing usable to train on.
    """
    complete_hashes(store)
    version = store.labels.version()
    kept_apart = set(store.catalogue.ids("validation"))
    labels = _usable_labels(store, recipe, version, round_number)
    lost = unreadable(store, labels)
    labels = {image_id: row for image_id, row in labels.items() if image_id not in lost}
    # an automatic mask of the pool is no truth to judge by: its image may join the validation set later
    split = fix_halves(store, {i for i in kept_apart & labels.keys() if labels[i].origin != "threshold"})
    validation_ids = set(split.selection)
    name = f"validation set ({len(validation_ids)} images)"
    if split.test:
        name = f"selection half of the {name}"
    alike = near_duplicate_ids(store, bits=recipe.validation.near_duplicate_bits)
    source = sorted(set(store.catalogue.ids("source")) & labels.keys() - kept_apart)
    if not validation_ids:
        source = [image_id for image_id in source if image_id not in alike]
        validation_ids = _holdout(source, recipe.training.holdout_fraction)
        name = f"holdout of the source ({len(validation_ids)} images)"
    corrected = sorted(
        image_id
        for image_id, row in labels.items()
        if row.by_person and 1 <= row.round <= round_number and image_id not in validation_ids | kept_apart
    )
    plain = [i for i in source if i not in validation_ids and not labels[i].by_person]
    pool = _automatic_masks_of_pool(store, recipe, labels)
    left_out = alike.intersection((*plain, *pool, *corrected))
    plain, pool, corrected = ([i for i in ids if i not in left_out] for ids in (plain, pool, corrected))
    pool_weight = recipe.training.pool_mask_weight or 0.0
    others = len(plain) + pool_weight * len(pool)
    weight = correction_weight(recipe.training, source=others, corrections=len(corrected))
    examples = [Example(i, 1.0) for i in plain] + [Example(i, pool_weight) for i in pool]
    examples += [Example(i, weight, is_correction=True) for i in corrected]
    if not examples or not validation_ids:
        raise TrainingError(
            f"{len(examples)} images to train on and {len(validation_ids)} to validate with; ingest a source of at "
            "least 20 clean images and look at the reasons why masks were rejected."
        )
    return TrainingSet(
        examples=tuple(examples),
        validation=tuple(Example(i, 1.0) for i in sorted(validation_ids)),
        validation_set=name,
        labels=labels,
        data_version=version,
        test=tuple(Example(i, 1.0) for i in split.test),
        left_out=left_out,
        pool_masks=len(pool),
        has_validation_set=bool(split.selection),
        unreadable=frozenset(lost),
    )


def _automatic_masks_of_pool(store: Store, recipe: Recipe, labels: Mapping[str, LabelRow]) -> list[str]:
    """Images of the pool that are trained on with their automatic mask: none that a person ever answered or skipped."""
    if recipe.training.pool_mask_weight is None:
        return []
    pool = set(store.catalogue.ids("pool")) - store.labels.hand_labelled_ids()
    found = sorted(i for i, row in labels.items() if row.origin == "threshold" and i in pool)
    if not found:
        log.warning(
            "training.pool_mask_weight is %g, but no image of the pool has an automatic mask. Ingest the pool again "
            "with automatic masks; what was in the catalogue stays.",
            recipe.training.pool_mask_weight,
        )
    return found


def _usable_labels(store: Store, recipe: Recipe, version: int, round_number: int) -> dict[str, LabelRow]:
    """The usable labels for a training: of validation images, of the source, of people's answers up to a round.

    Automatic masks of the pool too where the recipe takes them; labels of images that a person removed never.
    """
    removed = store.exclusions.current("removed")
    known = {*store.catalogue.ids("validation"), *store.catalogue.ids("source")}
    takes_pool = recipe.training.pool_mask_weight is not None
    return {
        row.image_id: row
        for row in store.labels.current(version=version)
        if row.status == "usable"
        and row.image_id not in removed
        and (
            row.image_id in known
            or (row.by_person and 1 <= row.round <= round_number)
            or (takes_pool and row.origin == "threshold")
        )
    }


def correction_weight(training: TrainingConfig, *, source: float, corrections: int) -> float:
    """Sampler weight of one correction beside others of total weight `source`: fixed, or what makes its share."""
    share = training.correction_share
    if share is None or not source or not corrections:
        return training.correction_weight
    return share / (1 - share) * source / corrections


def _holdout(source: Iterable[str], fraction: float) -> set[str]:
    """The same share of the source every time: an image belongs to it by its own hash, whatever else there is."""
    bound = int(fraction * 2**32)
    held = {i for i in source if int.from_bytes(stable_hash("holdout", i)[:4]) < bound}
    return held or set(sorted(source)[:1])


def mask_loader(store: Store, labels: Mapping[str, LabelRow]) -> Callable[[str], Mask]:
    """A function that reads the mask of an image from the store."""

    def load_mask(image_id: str) -> Mask:
        return decode_mask(store.blobs.get(_mask_sha(labels[image_id]), "png"))

    return load_mask


def _mask_sha(label: LabelRow) -> str:
    assert label.mask_sha is not None, "usable labels have a mask"
    return label.mask_sha


def fit(
    store: Store,
    recipe: Recipe,
    settings: Settings,
    *,
    round_number: int,
    report: Callable[[EpochReport], None] = lambda _: None,
) -> ModelRow:
    """Train model n, judge it against the active one and commit it; if it is there already, return it.

    A training that was killed goes on where its last epoch ended.

    Raises:
        TrainingError: nothing to train on, or the loss is no longer finite.
        WeightsError: the encoder's weights cannot be had.
    """
    there = store.models.of_round(round_number)
    if there is not None:
        _forget_checkpoints(store, round_number)  # left behind by a kill right after the commit
        return there
    active = store.models.active()
    data = training_set(store, recipe, round_number)
    start = None
    if active is not None and recipe.training.warm_start:
        start = store.models.weights(active.model_id)
    work_dir = store.work_dir(f"train-{round_number}-{data.fingerprint(recipe, round_number)}")
    model = train_on(
        data, store, recipe, settings,
        round_number=round_number, start=start, work_dir=work_dir, report=report,
        references=reference_squares(store, recipe, round_number),
    )  # fmt: skip
    verdict = judge(store, store.models.active(), model, data, settings)  # a person may have decided meanwhile
    metrics = recorded_metrics(store, model, data, recipe, settings)
    compared = {"compared": asdict(verdict.comparison) if verdict.comparison else None}
    row = row_of(
        model, data, recipe, {**metrics, **compared},
        round=round_number, parent=active.model_id if active else None,
        promoted=verdict.promoted, reason=with_rival(verdict.reason, metrics),
    )  # fmt: skip
    store.models.put_weights(model.weights)
    store.models.commit(row)
    _forget_checkpoints(store, round_number)  # the model is safe
    return store.models.of_round(round_number) or row


def train_on(
    data: TrainingSet,
    store: Store,
    recipe: Recipe,
    settings: Settings,
    *,
    round_number: int,
    start: bytes | None,
    work_dir: Path,
    report: Callable[[EpochReport], None],
    references: UInt8[np.ndarray, "n side side"] | None,
) -> TrainedModel:
    """Train on the images and masks of the store. See `plankseg.learning.trainer.train`.

    On several devices there is a process for each; raises SettingsError when there are not so many.
    """
    images = [example.image_id for example in (*data.examples, *data.validation)]
    job = TrainingJob(
        store=str(store.root),
        max_image_pixels=settings.max_image_pixels,
        device=settings.device,
        recipe=recipe,
        round_number=round_number,
        examples=data.examples,
        validation=data.validation,
        masks={image_id: _mask_sha(data.labels[image_id]) for image_id in images},
        work_dir=work_dir,
    )
    process = ProcessRank(world_size=recipe.training.devices)
    if process.world_size > 1:
        train_ddp(job, start=start, references=references, report=report)  # the whole way; what follows reads it
    trained = job.train(
        store, start=start, references=references, report=report, progress=sys.stderr.isatty(), process=process
    )
    if recipe.masks.postprocessing == "none":
        return trained
    return _with_postprocessing(store, trained, data, recipe, settings)


def _with_postprocessing(
    store: Store, model: TrainedModel, data: TrainingSet, recipe: Recipe, settings: Settings
) -> TrainedModel:
    """The model with the post-processing that its masks of the choosing images want, and their scores with it."""
    ids = [example.image_id for example in data.validation]
    weights = model.weights
    masks = list(predicted_masks(store, ids, settings, weights=weights, recipe=recipe, side_px=model.side_px))
    load_mask = mask_loader(store, data.labels)
    truth = [load_mask(image_id) for image_id in ids]
    chosen = choose_postprocessing(masks, truth)
    scores = score_images(ids, [chosen(mask) for mask in masks], truth)
    return replace(model, postprocessing=chosen, scores=scores)


def row_of(model: TrainedModel, data: TrainingSet, recipe: Recipe, metrics: Mapping[str, Any], **more: Any) -> ModelRow:
    """What is recorded of a trained model; `more` are the columns that say what became of it."""
    return ModelRow(
        model_id=hashlib.sha256(model.weights).hexdigest(),
        recipe=recipe.model_dump_json(),
        data_version=data.data_version,
        side_px=model.side_px,
        epochs=model.epochs,
        validation_dice=metrics["dice"],
        validation_set=data.validation_set,
        metrics=json.dumps(metrics, sort_keys=True),
        created_at=datetime.now(UTC),
        **more,
    )


def _forget_checkpoints(store: Store, round_number: int) -> None:
    """Remove the work folders of a round, also those of trainings on labels that have changed since."""
    for folder in store.work_root.glob(f"train-{round_number}-*"):
        shutil.rmtree(folder)


FEWEST_TO_JUDGE = 6


@dataclass(frozen=True)
class Verdict:
    """Whether a new model is promoted, why, and the comparison behind it where there was a model to compare with."""

    promoted: bool
    reason: str
    comparison: PairedComparison | None = None


def judge(store: Store, active: ModelRow | None, model: TrainedModel, data: TrainingSet, settings: Settings) -> Verdict:
    """Promote unless significantly worse than the active model on the same images (paired bootstrap, 95 %).

    Of fewer than six images all differ in one direction by chance more often than once in twenty (sign test), and a
    bootstrap of them would call that significant: then nothing is called worse or better. A holdout of the source
    refuses no model: each step towards the pool costs a little there.
    """
    if active is None:
        return Verdict(True, "the first model")
    before = evaluate(store, active, data, settings)
    ids = sorted(before.dice)
    difference = paired_bootstrap(
        np.array([model.scores.dice[i] for i in ids]),
        np.array([before.dice[i] for i in ids]),
        rng=np.random.default_rng(0),
    )
    can_tell = len(ids) >= FEWEST_TO_JUDGE
    worse, better = can_tell and difference.high < 0, can_tell and difference.low > 0
    verdict = "worse than" if worse else "better than" if better else "no clear difference from"
    source_only = not data.has_validation_set
    if not can_tell:
        verdict = f"too few images (below {FEWEST_TO_JUDGE}) to tell it from"
    reason = (
        f"Dice {difference.mean:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}] on the {data.validation_set}: "
        f"{verdict} model {active.round}"
    )
    if worse and source_only:
        reason = (
            f"Dice {difference.mean:+.4f} on the {data.validation_set}: images of the source alone refuse no model, "
            "since each step towards the pool costs a little there. Run 'annotate_validation' to judge on the pool"
        )
    return Verdict(not worse or source_only, reason, PairedComparison(difference.mean, difference.low, difference.high))


def with_rival(reason: str, metrics: Mapping[str, Any]) -> str:
    """How the model stands to the conventional method, where that was judged too, then a promotion's reason."""
    against = recorded_verdict(metrics)
    return f"{against.words()}; {reason}" if against else reason


def evaluate(store: Store, row: ModelRow, data: TrainingSet, settings: Settings) -> ImageScores:
    """Dice and IoU of a stored model per validation image, at native size."""
    ids = [example.image_id for example in data.validation]
    weights, recipe = store.models.weights(row.model_id), recipe_of(row)
    masks = predicted_masks(
        store,
        ids,
        settings,
        weights=weights,
        recipe=recipe,
        side_px=row.side_px,
        postprocessing=postprocessing_of(row),
    )
    load_mask = mask_loader(store, data.labels)
    return score_images(ids, list(masks), [load_mask(image_id) for image_id in ids])


def recorded_metrics(
    store: Store, model: TrainedModel, data: TrainingSet, recipe: Recipe, settings: Settings
) -> dict[str, Any]:
    """What is kept of a training beside its weights: the scores, the way there, and all measures of the model.

    `dice` and `iou` are those of the images that chose; `test` those of the test half, None where there is none.
    """
    dice = np.array([model.scores.dice[example.image_id] for example in data.validation])
    iou = np.array([model.scores.iou[example.image_id] for example in data.validation])
    low, high = bootstrap_interval(dice, rng=np.random.default_rng(0))
    measures = {
        name: full_scorecard(
            store,
            [example.image_id for example in examples],
            settings,
            load_mask=mask_loader(store, data.labels),
            weights=model.weights,
            recipe=recipe,
            side_px=model.side_px,
            postprocessing=model.postprocessing,
        )
        for name, examples in (("selection", data.validation), ("test", data.test))
        if examples
    }
    load_mask = mask_loader(store, data.labels)
    rivals = {
        name: rival_scores(store, {e.image_id: data.labels[e.image_id] for e in examples}, load_mask)
        for name, examples in (("selection", data.validation), ("test", data.test))
    }
    judged = {"measures": measures, "rivals": {half: scores for half, scores in rivals.items() if scores}}
    against = rival_verdict(judged)
    return judged | {
        "against_rivals": asdict(against) if against else None,
        "postprocessing": asdict(model.postprocessing),
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
