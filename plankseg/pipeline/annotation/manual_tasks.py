"""Tasks that people add to the project themselves: an image of the catalogue gives a drawn mask, others are refused."""

import hashlib
import json
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from plankseg.errors import LabelStudioError
from plankseg.files import atomic_write
from plankseg.labelling.api.answers import AnswerVersion, read_answers, version_of
from plankseg.labelling.api.labeling_config import IMAGE
from plankseg.labelling.api.protocol import LabelStudio
from plankseg.labelling.api.tasks import Task, identity, task_key
from plankseg.pipeline.annotation.label_rows import Premask, label_row
from plankseg.storage.store import Store
from plankseg.storage.tables.labels import LabelRow

WORK_DIR = "by-hand"  # a name on disk: stores of earlier versions have it


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
    known: AbstractSet[AnswerVersion],
) -> ManualTasks:
    """Read the answered tasks that we did not push; they count from this round on. Each image is fetched once."""
    added = [task for task in tasks if identity(task) is None and task.get("annotations")]
    added = [task for task in added if any(version_of(one) not in known for one in task["annotations"])]
    if not added:
        return ManualTasks()
    known_images = store.work_dir(WORK_DIR) / "images.json"
    shas: dict[str, str] = json.loads(known_images.read_bytes()) if known_images.exists() else {}
    labels, refused = list[LabelRow](), list[str]()
    for task in added:
        try:
            image_id = _image_id(task, label_studio, shas)
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
        labels += [label_row(store, replace(answer, origin="drawn"), Premask()) for answer in answers]
    atomic_write(known_images, json.dumps(shas, sort_keys=True).encode())
    return ManualTasks(tuple(labels), tuple(refused))


def _image_id(task: Task, label_studio: LabelStudio, shas: dict[str, str]) -> str:
    """The id of a task's image. Raises LabelStudioError if the image cannot be fetched."""
    address = str(task.get("data", {}).get(IMAGE) or "")
    if address not in shas:
        shas[address] = hashlib.sha256(label_studio.fetch_image(address)).hexdigest()
    return shas[address]


def _refusal(task: Task, reason: str) -> str:
    return f"Task {task['id']}, added by hand, is not used for training: {reason}"
