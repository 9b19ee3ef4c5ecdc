"""What becomes of tasks that people put into the project themselves?

If the image is one of ours its answer is taken in as a drawn mask; else it is refused, and the reason told.
"""

import hashlib
import json
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime

from plankseg.errors import LabelStudioError
from plankseg.imaging.masks import encode_mask, pixel_sha
from plankseg.labelling.api.protocol import LabelStudio
from plankseg.labelling.api.tasks import IMAGE, Answer, Task, identity, read_answers, task_key, version_of
from plankseg.storage.objects.blobs import write_whole
from plankseg.storage.store import Store
from plankseg.storage.tables.labels import LabelRow


@dataclass(frozen=True)
class ManualTasks:
    """Labels from tasks that people added, and why other such tasks were refused."""

    labels: tuple[LabelRow, ...] = ()
    refused: tuple[str, ...] = ()


def read_manual_tasks(
    store: Store,
    label_studio: LabelStudio,
    tasks: Sequence[Task],
    *,
    round_number: int,
    known: AbstractSet[tuple[int, datetime]],
) -> ManualTasks:
    """Read the answered tasks that we did not push; they count from this round on. Each image is fetched once."""
    added = [task for task in tasks if identity(task) is None and task.get("annotations")]
    added = [task for task in added if any(version_of(one) not in known for one in task["annotations"])]
    if not added:
        return ManualTasks()
    memory = store.work_dir("by-hand") / "images.json"
    shas: dict[str, str] = json.loads(memory.read_bytes()) if memory.exists() else {}
    labels, refused = list[LabelRow](), list[str]()
    for task in added:
        try:
            image_id = _image_of(task, label_studio, shas)
            row = next(iter(store.catalogue.rows({image_id})), None)
        except LabelStudioError as error:
            refused.append(_refusal(task, str(error)))
            continue
        if row is None:
            refused.append(_refusal(task, f"its image ({image_id[:8]}) is not in the catalogue; ingest it first."))
            continue
        data = {"image_id": image_id, "round": round_number, "key": task_key(round_number, image_id)}
        fresh = [one for one in task["annotations"] if version_of(one) not in known]
        size = {image_id: (row.height, row.width)}
        ours = {**task, "data": data, "annotations": fresh}
        answers = read_answers(ours, shape_of=size.__getitem__, premask_of=lambda _: None)
        labels += [_label(store, answer) for answer in answers]
    write_whole(memory, json.dumps(shas, sort_keys=True).encode())
    return ManualTasks(tuple(labels), tuple(refused))


def _image_of(task: Task, label_studio: LabelStudio, shas: dict[str, str]) -> str:
    """The id of a task's image. Raises LabelStudioError where it cannot be had."""
    address = str(task.get("data", {}).get(IMAGE) or "")
    if address not in shas:
        shas[address] = hashlib.sha256(label_studio.fetch_image(address)).hexdigest()
    return shas[address]


def _refusal(task: Task, reason: str) -> str:
    return f"Task {task['id']}, added by hand, is not learnt from: {reason}"


def _label(store: Store, answer: Answer) -> LabelRow:
    mask = answer.mask
    return LabelRow(
        image_id=answer.image_id,
        mask_sha=None if mask is None else store.blobs.put(encode_mask(mask), "png"),
        pixel_sha=None if mask is None else pixel_sha(mask),
        round=answer.round,
        origin="drawn",
        status=answer.status,
        reason=answer.reason,
        annotator=answer.annotator,
        seconds=answer.seconds,
        ls_task=answer.task_id,
        ls_annotation=answer.annotation_id,
        answered_at=answer.updated_at,
    )
