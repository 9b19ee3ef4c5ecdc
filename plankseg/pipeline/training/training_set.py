"""The training set of a round: source masks, corrections of the rounds so far, and the images that evaluate."""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from plankseg.config import Recipe, TrainingConfig
from plankseg.errors import TrainingError
from plankseg.imaging.arrays import Mask
from plankseg.imaging.masks import decode_mask
from plankseg.learning.trainer import Example
from plankseg.pipeline.models.automatic_masks import pool_acceptance
from plankseg.pipeline.pool.near_duplicates import complete_hashes, near_duplicate_ids
from plankseg.pipeline.pool.unreadable import unreadable
from plankseg.pipeline.pool.validation_split import fix_halves
from plankseg.stable_hash import stable_hash
from plankseg.storage.store import Store
from plankseg.storage.tables.labels import LabelRow

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingSet:
    """The images a model is trained and evaluated on, at one version of the label table.

    The `validation` images decide (best epoch, plateau, promotion); `validation_set` describes them in words. No
    decision depends on the `test` images. `left_out` are near duplicates of the validation set, so not trained on;
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


def training_set(store: Store, recipe: Recipe, round_number: int) -> TrainingSet:
    """Collect the usable labels: source masks weigh 1, answers of rounds 1 to n weigh `correction_weight`.

    Neither the validation images nor their near duplicates are trained on. The selection half of the validation set
    decides, the test half only reports; with fewer than four images all decide, and there is no test. Without a
    validation set a fixed share of the source decides, drawn by a hash of the image so that it is the same in every
    round, and there is no test.

    Raises:
        TrainingError: nothing usable to train on.
    """
    complete_hashes(store)
    version = store.labels.version()
    labels = _usable_labels(store, recipe, version, round_number)
    lost = unreadable(store, labels)
    labels = {image_id: row for image_id, row in labels.items() if image_id not in lost}
    validation_role = set(store.catalogue.ids("validation"))
    # An automatic mask of the pool is no ground truth: its image may join the validation set later.
    split = fix_halves(store, {i for i in validation_role & labels.keys() if labels[i].origin != "threshold"})
    validation_ids = set(split.selection)
    name = f"validation set ({len(validation_ids)} images)"
    if split.test:
        name = f"deciding half of the {name}"
    near_duplicates = near_duplicate_ids(store, bits=recipe.validation.near_duplicate_bits)
    source = sorted(set(store.catalogue.ids("source")) & labels.keys() - validation_role)
    if not validation_ids:
        source = [image_id for image_id in source if image_id not in near_duplicates]
        validation_ids = _holdout(source, recipe.training.holdout_fraction)
        name = f"part of the source that is not trained on ({len(validation_ids)} images)"
    corrected = sorted(
        image_id
        for image_id, row in labels.items()
        if row.by_person and 1 <= row.round <= round_number and image_id not in validation_ids | validation_role
    )
    plain = [i for i in source if i not in validation_ids and not labels[i].by_person]
    pool = _automatic_masks_of_pool(store, recipe, labels, version)
    left_out = near_duplicates.intersection((*plain, *pool, *corrected))
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


def _automatic_masks_of_pool(store: Store, recipe: Recipe, labels: Mapping[str, LabelRow], version: int) -> list[str]:
    """Images of the pool that are trained on with their automatic mask: none that a person ever answered or skipped.

    Where most of the pool's images are too difficult for the automatic method, the masks of the others are bad too: on
    crowded nuclei it accepted half, at Dice 0.73, and training on them cost 0.09 (docs/quality.md).
    """
    training = recipe.training
    if training.pool_mask_weight is None:
        return []
    pool = set(store.catalogue.ids("pool"))
    answered = store.labels.hand_labelled_ids()
    masked = sorted(i for i, row in labels.items() if row.origin == "threshold" and i in pool and i not in answered)
    acceptance = pool_acceptance(store, version=version)
    if masked and acceptance.is_below(training.pool_mask_min_share):
        log.warning(
            "Only %d of %d images of the pool got an automatic mask, less than training.pool_mask_min_share of %g: the "
            "automatic method does not suit them, and none of its masks is trained on.",
            acceptance.accepted,
            acceptance.tried,
            training.pool_mask_min_share,
        )
        return []
    if not masked:
        log.warning(
            "training.pool_mask_weight is %g, but no image of the pool has an automatic mask. Ingest the pool again "
            "with automatic masks; what was in the catalogue stays.",
            training.pool_mask_weight,
        )
    return masked


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
    """Sampler weight of one correction beside others of total weight `source`: fixed, or from the recipe's share."""
    share = training.correction_share
    if share is None or not source or not corrections:
        return training.correction_weight
    return share / (1 - share) * source / corrections


def _holdout(source: Iterable[str], fraction: float) -> set[str]:
    """The same share of the source every time: the image's own hash decides, whatever other images there are."""
    bound = int(fraction * 2**32)
    held = {i for i in source if int.from_bytes(stable_hash("holdout", i)[:4]) < bound}
    return held or set(sorted(source)[:1])


def mask_loader(store: Store, labels: Mapping[str, LabelRow]) -> Callable[[str], Mask]:
    """A function that reads the mask of an image from the store."""

    def load_mask(image_id: str) -> Mask:
        return decode_mask(store.blobs.get(mask_sha(labels[image_id]), "png"))

    return load_mask


def mask_sha(label: LabelRow) -> str:
    """The hash of the stored mask of a usable label."""
    assert label.mask_sha is not None, "usable labels have a mask"
    return label.mask_sha
