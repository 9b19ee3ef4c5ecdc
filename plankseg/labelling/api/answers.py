"""Read people's answers from Label Studio's JSON: status, mask, person and time of each annotation."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np

from plankseg.errors import BrushError, LabelStudioError
from plankseg.imaging.arrays import Mask
from plankseg.labelling.api.brush_rle import decode_brush
from plankseg.labelling.api.labeling_config import BRUSH, LABEL, UNUSABLE
from plankseg.labelling.api.tasks import TaskIdentity, identity

Origin = Literal["accepted", "corrected", "empty", "drawn"]
Status = Literal["usable", "skipped", "unusable", "quarantined"]
AnswerVersion = tuple[int, datetime]


@dataclass(frozen=True)
class Answer:
    """One person's answer about one image.

    `mask` is there exactly when `status` is usable; `origin` describes that mask ("empty" where there is none);
    `reason` says why an answer is quarantined, and what to do. `updated_at` is in UTC.
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


def read_answers(
    task: Mapping[str, Any],
    *,
    shape_of: Callable[[str], tuple[int, int]],
    premask_of: Callable[[str], Mask | None],
) -> list[Answer]:
    """Every person's answer to one task; drafts are no answers.

    `shape_of` gives an image's (height, width), `premask_of` the pre-mask that was pushed with it, None if none was.
    An answer that cannot be read is quarantined with its reason. Raises LabelStudioError for a task that is not ours.
    """
    owner = identity(task)
    if owner is None:
        raise LabelStudioError(f"Label Studio task {task.get('id')} has no plankseg key; delete it or leave it out.")
    return [
        _read_answer(annotation, owner=owner, task_id=int(task["id"]), shape_of=shape_of, premask_of=premask_of)
        for annotation in task.get("annotations") or []
    ]


def version_of(annotation: Mapping[str, Any]) -> AnswerVersion:
    """Id of an annotation and when (UTC) it was last changed: together they identify one version of an answer."""
    return int(annotation["id"]), datetime.fromisoformat(annotation["updated_at"]).astimezone(UTC)


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
    if annotation.get("was_cancelled"):  # Skip sends the whole unchanged pre-mask along: it is not an answer
        status = "skipped"
    else:
        try:
            mask = read_mask(annotation.get("result"), shape=shape_of(owner.image_id))
            status = "unusable" if mask is None else "usable"
            origin = "empty" if mask is None else _origin(mask, premask_of(owner.image_id))
        except (BrushError, LookupError) as error:
            status = "quarantined"
            reason = (
                f"Answer {annotation.get('id')} to image {owner.image_id} (Label Studio task {task_id}) cannot be "
                f"used: {error} Open the task, delete the region, paint it again and submit."
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
    )


def read_mask(result: object, *, shape: tuple[int, int]) -> Mask | None:
    """The union of all brush regions of one answer; None where the person called the image unusable.

    Raises BrushError for anything that the labelling configuration does not have, and for a malformed code.
    """
    if not isinstance(result, list) or not all(isinstance(item, Mapping) for item in result):
        raise BrushError("The answer is no list of regions.")
    values = [(item, item["value"] if isinstance(item.get("value"), Mapping) else {}) for item in result]
    if any(item.get("type") == "choices" and value.get("choices") == [UNUSABLE] for item, value in values):
        return None
    mask = np.zeros(shape, dtype=bool)
    for item, value in values:
        kind, name = item.get("type"), item.get("from_name")
        if kind != "brushlabels" or name != BRUSH:
            raise BrushError(f"It holds a {kind!r} region of control {name!r}; only the brush {BRUSH!r} is read.")
        if value.get("brushlabels") != [LABEL]:
            raise BrushError(f"A region is labelled {value.get('brushlabels')!r}; the label is {LABEL!r}.")
        mask |= decode_brush(value.get("rle"), shape=shape)
    return mask


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
        return str(person.get("email") or person.get("id"))
    found = re.search(r"\S+@[^\s,]+", str(annotation.get("created_username") or ""))
    return found.group() if found else str(person)


def _seconds(lead_time: object) -> float | None:
    usable = isinstance(lead_time, int | float) and math.isfinite(lead_time) and lead_time >= 0
    return float(lead_time) if usable else None  # type: ignore[arg-type]
