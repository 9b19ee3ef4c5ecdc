"""Tasks that people add to the project themselves: an image of the catalogue gives a drawn mask, others are refused."""

import hashlib
import json
import logging
import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from pathlib import Path

from plankseg.errors import LabelStudioAuthError, LabelStudioDownError, LabelStudioError
from plankseg.files import atomic_write
from plankseg.labelling.api.answers import AnswerVersion, annotations_of, read_answers, unreadable_answers, version_of
from plankseg.labelling.api.labeling_config import IMAGE
from plankseg.labelling.api.protocol import LabelStudio
from plankseg.labelling.api.tasks import Task, identity, task_key
from plankseg.labelling.sync.classify import Refusal
from plankseg.pipeline.annotation.label_rows import Premask, label_row, require_shown_as_decoded
from plankseg.storage.store import Store
from plankseg.storage.tables.catalogue import ImageRow
from plankseg.storage.tables.labels import LabelRow

WORK_DIR = "by-hand"  # a name on disk: stores of earlier versions have it
SHA256 = re.compile(r"[0-9a-f]{64}")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ManualTasks:
    """Labels from tasks that people added, and why other such tasks were refused."""

    labels: tuple[LabelRow, ...] = ()
    refusals: tuple[Refusal, ...] = ()

    @property
    def refused(self) -> tuple[str, ...]:
        """The refusals in words."""
        return tuple(map(str, self.refusals))

    @property
    def quarantined(self) -> tuple[str, ...]:
        """Why new answers to such tasks were quarantined."""
        return tuple(row.reason or "" for row in self.labels if row.status == "quarantined")


def read_manual_tasks(
    store: Store,
    label_studio: LabelStudio,
    tasks: Sequence[Task],
    *,
    round_number: int,
    known: AbstractSet[AnswerVersion],
) -> ManualTasks:
    """Read the answered tasks that we did not push; they count from this round on. Each image is fetched once."""
    added = [task for task in tasks if identity(task) is None]
    refusals = [Refusal(task["id"], "no answer", reason) for task in added for reason in unreadable_answers(task)]
    added = [task for task in added if any(version_of(annotation) not in known for annotation in annotations_of(task))]
    if not added:
        return ManualTasks((), tuple(refusals))
    image_ids = _image_ids(store, label_studio, added, refusals)
    images = {row.image_id: row for row in store.catalogue.rows(set(image_ids.values()))}
    labels: list[LabelRow] = []
    for task in added:
        image_id = image_ids.get(task["id"])
        if image_id is None:
            continue
        refusal = _refused(task["id"], images.get(image_id), image_id)
        if refusal is not None:
            refusals.append(refusal)
            continue
        data = {"image_id": image_id, "round": round_number, "key": task_key(round_number, image_id)}
        fresh = [annotation for annotation in annotations_of(task) if version_of(annotation) not in known]
        answers = read_answers(
            {**task, "data": data, "annotations": fresh},
            shape_of=lambda image_id: _checked_shape(store, images[image_id]),
            premask_of=lambda _: None,
        )
        labels += [label_row(store, replace(answer, origin="drawn"), Premask()) for answer in answers]
    return ManualTasks(tuple(labels), tuple(refusals))


def _refused(task: int, image: ImageRow | None, image_id: str) -> Refusal | None:
    """Why answers about an image are not taken from a task that a person added; None if they are."""
    if image is None:
        reason = f"it was added by hand, and its image ({image_id[:8]}) is not in the catalogue; ingest it first."
        return Refusal(task, "unknown image", reason)
    if image.role == "validation":
        reason = (
            f"it was added by hand, and its image ({image_id[:8]}) belongs to the validation set, whose masks are not "
            "replaced by tasks of other projects. Answer its own task in the validation project, and delete this one."
        )
        return Refusal(task, "image of the validation set", reason)
    return None


def _checked_shape(store: Store, image: ImageRow) -> tuple[int, int]:
    """Height and width. Raises AnswerError for a file that a browser shows otherwise than we decode it."""
    require_shown_as_decoded(store, image.image_id)
    return image.height, image.width


def _image_ids(
    store: Store, label_studio: LabelStudio, tasks: Sequence[Task], refusals: list[Refusal]
) -> dict[int, str]:
    """The image id of each task; a task whose image cannot be fetched is refused."""
    path = store.work_dir(WORK_DIR) / "images.json"
    known = _read_known(path)
    fetched: dict[str, str] = {}
    found: dict[int, str] = {}
    for task in tasks:
        data = task.get("data")
        address = str((data.get(IMAGE) if isinstance(data, Mapping) else None) or "")
        image_id = known.get(address) or fetched.get(address)
        try:
            if image_id is None:
                image_id = fetched[address] = hashlib.sha256(label_studio.fetch_image(address)).hexdigest()
            found[task["id"]] = image_id
        except (LabelStudioDownError, LabelStudioAuthError):
            raise
        except LabelStudioError as error:
            refusals.append(Refusal(task["id"], "image not fetched", f"it was added by hand, and {error}"))
    if fetched:
        atomic_write(path, json.dumps(known | fetched, sort_keys=True).encode())
    return found


def _read_known(path: Path) -> dict[str, str]:
    """Image ids by address, as earlier runs noted them; a damaged note costs fetching the images again."""
    try:
        known = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        log.warning("%s is damaged (%s): the images of tasks added by hand are fetched again", path, error)
        return {}
    if isinstance(known, dict) and all(isinstance(sha, str) and SHA256.fullmatch(sha) for sha in known.values()):
        return known
    log.warning("%s holds something else than image ids: the images of tasks added by hand are fetched again", path)
    return {}
