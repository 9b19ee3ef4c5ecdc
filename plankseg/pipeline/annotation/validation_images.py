"""Masks of the validation set: push its images into a Label Studio project of their own, and collect the answers.

Answers of the validation set belong to round 0, which is no round of corrections. The images are in the catalogue, and
what a person was shown is in the task, so every step can be repeated.
"""

import logging
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from plankseg.errors import BrushError
from plankseg.imaging.arrays import Mask
from plankseg.imaging.masks import encode_mask
from plankseg.imaging.reading import encode_grey
from plankseg.labelling.api.answers import annotations_of
from plankseg.labelling.api.protocol import LabelStudio
from plankseg.labelling.api.regions import read_mask
from plankseg.labelling.api.tasks import Task
from plankseg.labelling.sync.classify import Refusal, classify_tasks
from plankseg.labelling.sync.deduplicate import deduplicate_tasks
from plankseg.labelling.sync.push import PushItem, PushReport, push_round
from plankseg.pipeline.annotation.collect_answers import CollectReport, record_answers
from plankseg.pipeline.annotation.connection import VALIDATION_SUFFIX
from plankseg.pipeline.annotation.label_rows import Premask, pushed_tasks
from plankseg.pipeline.annotation.manual_tasks import ManualTasks
from plankseg.pipeline.archive.image_paths import relative_paths
from plankseg.storage.store import Store
from plankseg.storage.tables.catalogue import ImageRow
from plankseg.storage.tables.pushes import PushRow

ROUND = 0
ADDED = (
    "it was added by hand to the project of the validation set. Ingest its image with the role validation, and run "
    "`annotate_validation` again."
)
log = logging.getLogger(__name__)


def unmasked(store: Store) -> list[str]:
    """Images of the validation set with neither a mask that was handed in nor any answer of a person, ascending."""
    done = {row.image_id for row in store.labels.current() if row.by_person or row.origin == "given"}
    return [image_id for image_id in store.catalogue.ids("validation") if image_id not in done]


def push_unmasked(
    store: Store,
    label_studio: LabelStudio,
    project: int,
    *,
    premasks: Mapping[str, Mask] | None = None,
    model_id: str | None = None,
) -> PushReport:
    """Bring every unmasked image into Label Studio, also those ingested without masks; what is there stays as it is.

    Without `premasks` the person draws on the bare image: a model's proposal would pull the truth towards the model.
    """
    ids = unmasked(store)
    images = store.catalogue.rows_by_id(ids)
    paths = relative_paths(store, images.values()) if images else {}
    items = []
    for image_id, grey in store.catalogue.readable(
        ids, lambda image_id, error: log.warning("Image %s is not put into Label Studio: %s", image_id, error)
    ):
        premask = (premasks or {}).get(image_id)
        maker = model_id if premask is not None else None
        taxon, path = images[image_id].taxon, paths[image_id]
        items.append(PushItem(image_id, encode_grey(grey), premask, maker, score=None, taxon=taxon, file=path))
    report = push_round(label_studio, project, items, round=ROUND, pushed=pushed_tasks(store, project))
    store.pushes.add(
        PushRow(round=ROUND, image_id=image_id, title=VALIDATION_SUFFIX, project=project, task=task)
        for image_id, task in report.tasks.items()
    )
    label_studio.ensure_tab(project, "Validation set", ROUND)
    return report


def collect_masks(store: Store, label_studio: LabelStudio, project: int) -> CollectReport:
    """Take every new version of an answer to an image of the validation set into the label store.

    Tasks that people added to this project are refused: an image joins the validation set by ingest or by the draw.
    """
    ours = set(store.catalogue.ids("validation"))
    classified = classify_tasks(label_studio.list_tasks(project), pushed=pushed_tasks(store, project))
    tasks = deduplicate_tasks(classified.ours, round=ROUND)
    rows = store.catalogue.rows_by_id(ours & tasks.kept.keys())
    premasks = {image_id: _shown_premask(store, tasks.kept[image_id], row) for image_id, row in rows.items()}
    counted = [*tasks.kept.values(), *tasks.touched]
    collected = record_answers(store, counted, round_number=ROUND, premasks=premasks)
    added = [Refusal(task["id"], "not ours", ADDED) for task in classified.manual if annotations_of(task)]
    return CollectReport({ROUND: collected}, ManualTasks(), (*classified.edited, *added))


def _shown_premask(store: Store, task: Task, row: ImageRow) -> Premask:
    """The pre-mask that an answered task holds, and the model that made it."""
    predictions, model_id = task.get("predictions"), task["data"].get("model_id")
    if not annotations_of(task) or not isinstance(predictions, list) or not predictions:
        return Premask()
    try:
        mask = read_mask(predictions[0]["result"], shape=(row.height, row.width))
    except (BrushError, LookupError, TypeError) as error:
        log.warning("The pre-mask of Label Studio task %d is not the one that was pushed: %s", task["id"], error)
        return Premask()
    if mask is None or not isinstance(model_id, str):
        log.warning("The pre-mask of Label Studio task %d, or its model, was edited: it is left out", task["id"])
        return Premask()
    return Premask(store.blobs.put(encode_mask(mask), "png"), model_id)


@dataclass(frozen=True)
class ClassCount:
    """One class of the validation set: its images, how many have a usable mask, how many wait for a person."""

    taxon: str | None
    images: int
    masked: int
    open: int


def class_counts(store: Store) -> list[ClassCount]:
    """Progress of the masking, class by class in the order of their names."""
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
