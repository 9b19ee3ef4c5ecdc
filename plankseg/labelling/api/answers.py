"""Read people's answers from Label Studio's JSON: status, mask, person and time of each annotation."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import numpy as np

from plankseg.errors import AnswerError, BrushError, LabelStudioError
from plankseg.imaging.arrays import Mask
from plankseg.labelling.api.regions import Tools, read_mask, tools_of
from plankseg.labelling.api.tasks import TaskIdentity, identity
from plankseg.labelling.api.words import shortened

LONGEST_LEAD_TIME_S = 30 * 24 * 3600  # a browser tab that was left open for a month says nothing about the work
LONGEST_NAME = 254  # of an e-mail address
LARGEST_ID = 2**63 - 1
OLDEST = datetime(2000, 1, 1, tzinfo=UTC)
CLOCK_TOLERANCE = timedelta(days=366)  # Label Studio's clock may be wrong, but not by more
# The version of an answer whose time of change cannot be used: it is quarantined, once.
WITHOUT_TIME = datetime(1970, 1, 1, tzinfo=UTC)

Origin = Literal["accepted", "corrected", "empty", "drawn"]
Status = Literal["usable", "skipped", "unusable", "quarantined"]
AnswerVersion = tuple[int, datetime]


@dataclass(frozen=True)
class Answer:
    """One person's answer about one image.

    `mask` is there exactly when `status` is usable; `origin` describes that mask ("empty" where there is none);
    `reason` says why an answer is quarantined, and what to do. `updated_at` is in UTC. `tools` is what the person used,
    as far as Label Studio tells.
    """

    image_id: str
    round: int
    task_id: int
    annotation_id: int
    updated_at: datetime
    annotator: str
    seconds: float | None
    origin: Origin
    status: Status
    mask: Mask | None
    reason: str | None
    tools: Tools


def read_answers(
    task: Mapping[str, Any],
    *,
    shape_of: Callable[[str], tuple[int, int]],
    premask_of: Callable[[str], Mask | None],
) -> list[Answer]:
    """Every person's answer to one task; drafts are no answers, nor is what `unreadable_answers` names.

    `shape_of` gives an image's (height, width), `premask_of` the pre-mask that was pushed with it, None if none was.
    An answer that cannot be read is quarantined with its reason. Raises LabelStudioError for a task that is not ours.
    """
    owner = identity(task)
    if owner is None:
        raise LabelStudioError(f"Label Studio task {task.get('id')} has no plankseg key; delete it or leave it out.")
    return [
        _read_answer(annotation, owner=owner, task_id=int(task["id"]), shape_of=shape_of, premask_of=premask_of)
        for annotation in annotations_of(task)
    ]


def annotations_of(task: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The answers of a task that have an id."""
    annotations = task.get("annotations")
    if not isinstance(annotations, list):
        return []
    return [
        annotation for annotation in annotations if isinstance(annotation, Mapping) and _is_id(annotation.get("id"))
    ]


def unreadable_answers(task: Mapping[str, Any]) -> list[str]:
    """What stands in the place of a task's answers but is no answer with an id, in words."""
    annotations = task.get("annotations") or []
    if not isinstance(annotations, list):
        return [
            f"Label Studio task {task.get('id')} holds {shortened(annotations)} instead of answers; answer it again."
        ]
    return [
        f"An answer of Label Studio task {task.get('id')} has no usable id ({shortened(annotation)}); "
        "delete it, answer again."
        for annotation in annotations
        if not isinstance(annotation, Mapping) or not _is_id(annotation.get("id"))
    ]


def version_of(annotation: Mapping[str, Any]) -> AnswerVersion:
    """Id of an annotation and when (UTC) it was last changed: together they identify one version of an answer.

    The time is WITHOUT_TIME if Label Studio's cannot be used.
    """
    return annotation["id"], _time_of_change(annotation.get("updated_at")) or WITHOUT_TIME


def _time_of_change(value: object) -> datetime | None:
    """A time of change in UTC; None for what is no time, or none at which a person can have answered."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return moment if OLDEST <= moment <= datetime.now(UTC) + CLOCK_TOLERANCE else None


def _is_id(value: object) -> bool:
    return type(value) is int and 0 < value <= LARGEST_ID


def _read_answer(
    annotation: Mapping[str, Any],
    *,
    owner: TaskIdentity,
    task_id: int,
    shape_of: Callable[[str], tuple[int, int]],
    premask_of: Callable[[str], Mask | None],
) -> Answer:
    annotation_id, updated_at = version_of(annotation)
    status: Status = "usable"
    origin: Origin = "empty"
    mask, reason = None, None
    try:
        if updated_at == WITHOUT_TIME:
            raise AnswerError(
                f"Its time of change is {shortened(annotation.get('updated_at'))}, at which no person can have "
                "answered. Set the clock of Label Studio's machine, open the task and submit again."
            )
        if annotation.get("was_cancelled"):  # Skip sends the whole unchanged pre-mask along: it is not an answer
            status = "skipped"
        else:
            mask = read_mask(annotation.get("result"), shape=shape_of(owner.image_id))
            status = "unusable" if mask is None else "usable"
            origin = "empty" if mask is None else _origin(mask, premask_of(owner.image_id))
    except (BrushError, LookupError) as error:
        cure = "" if isinstance(error, AnswerError) else " Open the task, delete the region, paint it again and submit."
        status = "quarantined"
        reason = (
            f"Answer {annotation_id} to image {owner.image_id} (Label Studio task {task_id}) cannot be used: "
            f"{error}{cure}"
        )
    return Answer(
        image_id=owner.image_id,
        round=owner.round,
        task_id=task_id,
        annotation_id=annotation_id,
        updated_at=updated_at,
        annotator=_annotator(annotation),
        seconds=_seconds(annotation.get("lead_time")),
        origin=origin,
        status=status,
        mask=mask,
        reason=reason,
        tools=tools_of(annotation.get("result")),
    )


def _origin(mask: Mask, premask: Mask | None) -> Origin:
    """Compared pixel by pixel with our own pre-mask: Label Studio's `origin` depends on how a region was touched."""
    if premask is None:
        return "drawn"
    if np.array_equal(mask, premask):
        return "accepted"
    return "corrected" if mask.any() else "empty"


def _annotator(annotation: Mapping[str, Any]) -> str:
    """The person's e-mail address, or the number of the account."""
    person = annotation.get("completed_by")
    if isinstance(person, Mapping):
        name = str(person.get("email") or person.get("id"))
    else:
        found = re.search(r"\S+@[^\s,]+", str(annotation.get("created_username") or ""))
        name = found.group() if found else str(person)
    return name.encode("utf-8", "replace").decode()[:LONGEST_NAME]  # JSON may hold half characters, tables may not


def _seconds(lead_time: object) -> float | None:
    """Seconds of work; None for what is no duration. Compared before it is converted: JSON has integers of any size."""
    if isinstance(lead_time, bool) or not isinstance(lead_time, int | float):
        return None
    return float(lead_time) if 0 <= lead_time <= LONGEST_LEAD_TIME_S else None
