"""Push the images of a round into Label Studio, each exactly once.

Import is not idempotent and its answer can get lost, so: list the tasks by our own key, upload and import what is
missing, list again and check. A push that was interrupted anywhere is completed by the next one.
Label Studio repeats an import that met a locked database, and the repetition has lost the predictions: such tasks are
given their pre-masks afterwards.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from plankseg.errors import LabelStudioDownError, LabelStudioError
from plankseg.labelling.api.protocol import LabelStudio
from plankseg.labelling.api.tasks import PushItem, Task, TaskIdentity, build_task, premask_prediction
from plankseg.labelling.sync.classify import classify_tasks
from plankseg.labelling.sync.deduplicate import RoundTasks, deduplicate_tasks

__all__ = ["PushItem", "PushReport", "push_round"]

NOTHING_PUSHED: Mapping[int, TaskIdentity] = MappingProxyType({})
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PushReport:
    """The task of each image, the imported images, the doubles that were removed, and touched doubles that stay."""

    tasks: dict[str, int]
    imported: tuple[str, ...]
    removed_doubles: tuple[int, ...]
    kept_doubles: tuple[int, ...]


def push_round(
    label_studio: LabelStudio,
    project: int,
    items: Sequence[PushItem],
    *,
    round: int,
    pushed: Mapping[int, TaskIdentity] = NOTHING_PUSHED,
) -> PushReport:
    """Make sure that the project holds one task per item. `pushed` is what earlier pushes recorded, by task.

    Raises LabelStudioError if an image is listed twice or, after the import, still has no task. If the server went
    away during the import that is the LabelStudioDownError itself, after which a retry makes sense.
    """
    names = [item.image_id for item in items]
    if len(set(names)) < len(names):
        repeated = sorted({name for name in names if names.count(name) > 1})
        raise LabelStudioError(f"Round {round} lists image {repeated[0]} more than once; propose the round again.")
    tasks = label_studio.list_tasks(project, round)
    before = _of_round(tasks, round, pushed)
    missing = [item for item in items if item.image_id not in before.kept]
    after, failure = before, None
    if missing:
        failure = _import_missing(label_studio, project, missing, round=round)
        # A new server gives the numbers of an old one again: records are of the tasks that were there before.
        listed = {task["id"] for task in tasks}
        recorded = {task: owner for task, owner in pushed.items() if task in listed}
        after = _of_round(label_studio.list_tasks(project, round), round, recorded)
    lost = [name for name in names if name not in after.kept]
    if lost and isinstance(failure, LabelStudioDownError):
        raise failure
    if lost:
        raise LabelStudioError(
            f"{len(lost)} of {len(names)} images of round {round} have no task in Label Studio, the first is "
            f"{lost[0]}; push the round again, what is there is not doubled."
        ) from failure
    _add_lost_premasks(label_studio, project, items, after)
    return PushReport(
        tasks={name: after.ids[name] for name in names},
        imported=tuple(item.image_id for item in missing),
        removed_doubles=_remove_spare(label_studio, after),
        kept_doubles=tuple(int(task["id"]) for task in after.touched),
    )


def _of_round(tasks: Sequence[Task], round: int, pushed: Mapping[int, TaskIdentity]) -> RoundTasks:
    """The tasks of a round; one that a person edited shows another image than it names, so it counts for none."""
    return deduplicate_tasks(classify_tasks(tasks, pushed=pushed).ours, round=round)


def _import_missing(
    label_studio: LabelStudio, project: int, missing: Sequence[PushItem], *, round: int
) -> LabelStudioError | None:
    """Upload and import; an error of the import is returned, because the server may have done it all the same."""
    pngs = {f"{item.image_id}.png": item.png for item in missing if item.png is not None}
    urls = label_studio.upload_images(project, pngs) if pngs else {}
    tasks = [build_task(item, round=round, image_url=item.url or urls[f"{item.image_id}.png"]) for item in missing]
    try:
        label_studio.import_tasks(project, tasks)
    except LabelStudioError as error:
        log.warning("The import of round %d failed (%s); checking whether it arrived", round, error)
        return error
    return None


def _add_lost_premasks(label_studio: LabelStudio, project: int, items: Sequence[PushItem], found: RoundTasks) -> None:
    """Give every untouched task the pre-mask that it should have had from its import."""
    lost = {}
    for item in items:
        task = found.kept[item.image_id]
        if item.premask is not None and not any(task.get(kind) for kind in ("predictions", "annotations", "drafts")):
            lost[int(task["id"])] = premask_prediction(item.premask, item.score)
    if lost:
        log.warning("Label Studio took %d tasks without their pre-masks; giving them again", len(lost))
        label_studio.add_premasks(project, lost)


def _remove_spare(label_studio: LabelStudio, found: RoundTasks) -> tuple[int, ...]:
    for task in found.spare:
        log.warning("Removing Label Studio task %d, an untouched double of %s", task["id"], task["data"]["key"])
        label_studio.delete_task(int(task["id"]))
    return tuple(int(task["id"]) for task in found.spare)
