"""Which images does a person mask to measure with, and how do their masks come back?

A few of every class, drawn by lot from the pool, into a Label Studio project of their own. From the draw on they have
the role validation: no round proposes them, nothing trains on them. Their answers are of round 0, which is no round of
corrections. What is drawn stands in the catalogue and what was shown in the task, so every step can be done again.
"""

import hashlib
import logging
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from plankseg.config import Settings, ValidationDraw
from plankseg.errors import ImageReadError, StoreError
from plankseg.imaging.arrays import Mask
from plankseg.imaging.masks import encode_mask
from plankseg.imaging.perceptual_hash import alike, as_numbers, perceptual_hash
from plankseg.imaging.reading import encode_grey
from plankseg.labelling.api.protocol import LabelStudio
from plankseg.labelling.api.tasks import Task, read_mask
from plankseg.labelling.sync.deduplicate import deduplicate_tasks
from plankseg.labelling.sync.push import PushItem, PushReport, push_round
from plankseg.pipeline.annotation.sync import LABELING_CONFIG, Collected, record_answers
from plankseg.pipeline.models.recipes import recipe_in_force
from plankseg.pipeline.pool.candidates import choosable
from plankseg.storage.schemas import utc_now
from plankseg.storage.store import Store
from plankseg.storage.tables.catalogue import ImageRow

ROUND = 0
TITLE_END = " validation"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Drawn:
    """What a draw added, and the classes (None: images without one) that have fewer images than were asked for."""

    new: tuple[str, ...]
    short: Mapping[str | None, int]
    unreadable: tuple[str, ...]


@dataclass(frozen=True)
class Shown:
    """What the person saw with an image: the pre-mask that its task holds, and the model that made it."""

    premask_sha: str | None
    model_id: str | None
    blind: bool | None = None


def project_of_validation(label_studio: LabelStudio, settings: Settings) -> int:
    """The project for the validation set, named after the one for the rounds; made if it is missing."""
    title = settings.project[: 50 - len(TITLE_END)].rstrip() + TITLE_END  # Label Studio's own limit
    return label_studio.ensure_project(title, LABELING_CONFIG.read_text(encoding="utf-8"))


def draw(store: Store, wanted: ValidationDraw) -> Drawn:
    """Bring every class of the pool to `per_class` images of the validation set, in one commit; again adds nothing.

    An image's place in the draw depends on itself and the seed alone. Never drawn: what was proposed or answered, what
    is like an image of the set, what cannot be read. A class that came later gets its own images, the others none;
    with `replace_refused` one that a person skipped or called unusable makes room for the next.
    """
    bits = recipe_in_force(store).validation.near_duplicate_bits
    missing = _missing(store, wanted)
    taxa = store.catalogue.taxa("pool")
    lots: dict[str | None, list[str]] = defaultdict(list)
    for image_id in choosable(store):
        lots[taxa[image_id]].append(image_id)
    kept_apart = [known for known in store.catalogue.hashes("validation").values() if known]
    rows: list[ImageRow] = []
    unreadable: list[str] = []
    short: dict[str | None, int] = {}
    for taxon in sorted(set(taxa.values()), key=lambda name: name or ""):
        still = missing.get(taxon, wanted.per_class)
        for row in _readable(store, sorted(lots[taxon], key=lambda i: _lot(wanted.seed, i)), unreadable):
            if still <= 0:
                break
            if alike(as_numbers([str(row.phash)]), as_numbers(kept_apart), bits=bits)[0]:
                continue
            rows.append(row)
            kept_apart.append(str(row.phash))
            still -= 1
        if still > 0:
            short[taxon] = wanted.per_class - still
    if rows:
        store.catalogue.add(rows)
    return Drawn(tuple(row.image_id for row in rows), short, tuple(sorted(unreadable)))


def _missing(store: Store, wanted: ValidationDraw) -> dict[str | None, int]:
    """How many images each class of the validation set lacks; a class that is not in it lacks all."""
    refused = _refused(store) if wanted.replace_refused else frozenset()
    taxa = store.catalogue.taxa("validation")
    there = Counter(taxon for image_id, taxon in taxa.items() if image_id not in refused)
    return {taxon: wanted.per_class - there[taxon] for taxon in set(taxa.values())}


def _refused(store: Store) -> frozenset[str]:
    rows = store.labels.current()
    return frozenset(row.image_id for row in rows if row.by_person and row.status in ("skipped", "unusable"))


def _readable(store: Store, image_ids: Sequence[str], unreadable: list[str]) -> Iterator[ImageRow]:
    """Row after row for the validation set, of the images that can be read; the others are noted."""
    for image_id in image_ids:
        try:
            grey = store.catalogue.load(image_id)
        except (ImageReadError, StoreError) as error:
            log.warning("Image %s is left out of the draw: %s", image_id, error)
            unreadable.append(image_id)
            continue
        row = store.catalogue.row(image_id)
        yield replace(row, role="validation", phash=perceptual_hash(grey), half=None, added_at=utc_now())


def _lot(seed: int, image_id: str) -> bytes:
    return hashlib.sha256(f"validation {seed} {image_id}".encode()).digest()


def unmasked(store: Store) -> list[str]:
    """Images of the validation set with neither a mask that came with them nor any answer of a person, ascending."""
    settled = {row.image_id for row in store.labels.current() if row.by_person or row.origin == "given"}
    return [image_id for image_id in store.catalogue.ids("validation") if image_id not in settled]


def push_unmasked(
    store: Store,
    label_studio: LabelStudio,
    project: int,
    *,
    premasks: Mapping[str, Mask] | None = None,
    model_id: str | None = None,
) -> PushReport:
    """Bring every unmasked image into Label Studio, also those handed in without masks; what is there stays as it is.

    Without `premasks` the person draws on the bare image: a model's proposal would pull the truth towards the model.
    """
    ids = unmasked(store)
    shown = premasks or {}
    images = store.catalogue.rows_by_id(ids)
    items = []
    for image_id in ids:
        try:
            png = encode_grey(store.catalogue.load(image_id))
        except (ImageReadError, StoreError) as error:
            log.warning("Image %s is not put into Label Studio: %s", image_id, error)
            continue
        premask = shown.get(image_id)
        maker = model_id if premask is not None else None
        items.append(PushItem(image_id, png, premask, maker, score=None, taxon=images[image_id].taxon))
    report = push_round(label_studio, project, items, round=ROUND)
    label_studio.ensure_tab(project, "Validation set", ROUND)
    return report


def collect_masks(store: Store, label_studio: LabelStudio, project: int) -> Collected:
    """Take every new version of an answer to an image of the validation set into the label store."""
    ours = set(store.catalogue.ids("validation"))
    tasks = deduplicate_tasks(label_studio.list_tasks(project, ROUND), round=ROUND)
    rows = store.catalogue.rows_by_id(ours & tasks.kept.keys())
    shown = {image_id: _shown(store, tasks.kept[image_id], row) for image_id, row in rows.items()}
    return record_answers(store, [*tasks.kept.values(), *tasks.touched], round_number=ROUND, shown=shown)


def _shown(store: Store, task: Task, row: ImageRow) -> Shown:
    if not task.get("annotations") or not task.get("predictions"):
        return Shown(None, None)
    premask = read_mask(task["predictions"][0]["result"], shape=(row.height, row.width))
    assert premask is not None, "a prediction of ours holds no choice"
    return Shown(store.blobs.put(encode_mask(premask), "png"), task["data"].get("model_id"))


@dataclass(frozen=True)
class ClassCount:
    """One class of the validation set: its images, how many have a usable mask, how many wait for a person."""

    taxon: str | None
    images: int
    masked: int
    open: int


def class_counts(store: Store) -> list[ClassCount]:
    """How far the masking is, class by class in the order of their names."""
    masked = {row.image_id for row in store.labels.current() if row.status == "usable"}
    waiting = set(unmasked(store))
    members: dict[str | None, list[str]] = defaultdict(list)
    for image_id, taxon in store.catalogue.taxa("validation").items():
        members[taxon].append(image_id)
    return [
        ClassCount(
            taxon,
            images=len(ids),
            masked=int(np.count_nonzero([i in masked and i not in waiting for i in ids])),
            open=sum(i in waiting for i in ids),
        )
        for taxon, ids in sorted(members.items(), key=lambda entry: entry[0] or "")
    ]
