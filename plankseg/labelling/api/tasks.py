"""What do we ask Label Studio, and what did the person answer? Pure JSON on one side, masks on the other.

The server validates nothing: both directions are checked here.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal
from xml.etree import ElementTree

import numpy as np
from pydantic import SecretStr

from plankseg.errors import BrushError, LabelStudioError, ScoreError
from plankseg.imaging.arrays import Mask
from plankseg.labelling.api.brush_rle import decode_brush, encode_brush

IMAGE = "image"  # these five are the names in label_studio/labeling_config.xml
BRUSH = "mask"
LABEL = "plankton"
QUALITY = "quality"
UNUSABLE = "unusable"
# One constant version, not the model's id: the label stream shows the predictions of the project's `model_version`
# alone, which Label Studio sets at the first import and never again, so later rounds would come without pre-masks.
PREMASK_VERSION = "plankseg"

Task = dict[str, Any]
Origin = Literal["accepted", "corrected", "empty", "drawn"]
Status = Literal["usable", "skipped", "unusable", "quarantined"]


@dataclass(frozen=True)
class PushItem:
    """One image to be corrected: `premask` is None where no model has seen it, `score` is its uncertainty.

    `png` is uploaded; it is None where Label Studio reads the image itself, at its `url` in a bucket.
    """

    image_id: str
    png: bytes | None
    premask: Mask | None
    model_id: str | None
    score: float | None
    taxon: str | None = None
    url: str | None = None

    def __post_init__(self) -> None:
        if (self.png is None) == (self.url is None):
            raise LabelStudioError(f"Image {self.image_id} needs either bytes to upload or an address in a bucket.")


@dataclass(frozen=True)
class BucketAccess:
    """How Label Studio reads a bucket's images: through itself, or by signed addresses that browsers follow.

    Without `key` and `secret` it uses credentials of its own.
    """

    bucket: str
    endpoint: str
    region: str
    key: str | None = None
    secret: SecretStr | None = None
    presign: bool = False


@dataclass(frozen=True)
class Answer:
    """What one person said about one image.

    `mask` is there exactly when `status` is usable; `origin` speaks of that mask ("empty" where there is none);
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


def task_key(round: int, image_id: str) -> str:
    """Our own name of a task: an import can be repeated, a key may exist once."""
    return f"{round}:{image_id}"


def identity(task: Mapping[str, Any]) -> tuple[int, str] | None:
    """Round and image of a task that we pushed; None for a task that somebody else put into the project."""
    data = task.get("data")
    if not isinstance(data, Mapping):
        return None
    number, image_id = data.get("round"), data.get("image_id")
    if not isinstance(number, int) or not isinstance(image_id, str) or data.get("key") != task_key(number, image_id):
        return None
    return number, image_id


def build_task(item: PushItem, *, round: int, image_url: str) -> Task:
    """The JSON of one task: the image, our key, and the pre-mask as a prediction at the image's own size.

    A pre-mask without a pixel becomes a prediction without a region; no pre-mask, no prediction. Raises ScoreError.
    """
    if item.score is not None and not math.isfinite(item.score):
        raise ScoreError(f"The score of image {item.image_id} is {item.score}; score the round again.")
    data = {
        IMAGE: image_url,
        "image_id": item.image_id,
        "round": round,
        "key": task_key(round, item.image_id),
        "taxon": item.taxon,
        "uncertainty": item.score,
        "model_id": item.model_id,
    }
    task: Task = {"data": data}
    if item.premask is not None:
        score = None if item.score is None else min(max(float(item.score), 0.0), 1.0)
        result = premask_regions(item.premask, origin="prediction") if item.premask.any() else []
        task["predictions"] = [{"model_version": PREMASK_VERSION, "score": score, "result": result}]
    return task


def premask_regions(mask: Mask, *, origin: str) -> list[Task]:
    """One brush region, as the interface would send it."""
    height, width = mask.shape
    value = {"format": "rle", "rle": encode_brush(mask), "brushlabels": [LABEL]}
    size = {"original_width": width, "original_height": height, "image_rotation": 0}
    region = {"id": "premask", "from_name": BRUSH, "to_name": IMAGE, "type": "brushlabels", "origin": origin}
    return [{**region, **size, "value": value}]


def unusable_choice() -> Task:
    """The item that stands for the button 'unusable'."""
    value = {"choices": [UNUSABLE]}
    return {"id": "quality", "from_name": QUALITY, "to_name": IMAGE, "type": "choices", "value": value}


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
    who = identity(task)
    if who is None:
        raise LabelStudioError(f"Label Studio task {task.get('id')} has no plankseg key; delete it or leave it out.")
    return [
        _read_answer(annotation, who=who, task_id=int(task["id"]), shape_of=shape_of, premask_of=premask_of)
        for annotation in task.get("annotations") or []
    ]


def version_of(annotation: Mapping[str, Any]) -> tuple[int, datetime]:
    """Number of an annotation and when (UTC) it was last changed: what tells two versions of answers apart."""
    return int(annotation["id"]), datetime.fromisoformat(annotation["updated_at"]).astimezone(UTC)


def _read_answer(
    annotation: Mapping[str, Any],
    *,
    who: tuple[int, str],
    task_id: int,
    shape_of: Callable[[str], tuple[int, int]],
    premask_of: Callable[[str], Mask | None],
) -> Answer:
    number, image_id = who
    annotation_id, updated_at = version_of(annotation)
    status: Status = "usable"
    origin: Origin = "empty"
    mask, reason = None, None
    if annotation.get("was_cancelled"):  # Skip sends the whole unchanged pre-mask along: it is not an answer
        status = "skipped"
    else:
        try:
            mask = read_mask(annotation.get("result"), shape=shape_of(image_id))
            status = "unusable" if mask is None else "usable"
            origin = "empty" if mask is None else _origin(mask, premask_of(image_id))
        except (BrushError, LookupError) as error:
            status = "quarantined"
            reason = (
                f"Answer {annotation.get('id')} to image {image_id} (Label Studio task {task_id}) cannot be used: "
                f"{error} Open the task, delete the region, paint it again and submit."
            )
    return Answer(
        image_id=image_id,
        round=number,
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
    """By pixels against our own pre-mask: Label Studio's word for it depends on how a region was touched."""
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


def config_gap(labeling_config: str) -> str | None:
    """What a labelling configuration lacks for our tasks and answers; None when it has all five names."""
    try:
        root = ElementTree.fromstring(labeling_config)  # noqa: S314  our own file, or our own server's
    except ElementTree.ParseError as error:
        return f"it is no XML ({error})"
    for path in (
        f".//Image[@name='{IMAGE}'][@value='${IMAGE}']",
        f".//BrushLabels[@name='{BRUSH}'][@toName='{IMAGE}']/Label[@value='{LABEL}']",
        f".//Choices[@name='{QUALITY}'][@toName='{IMAGE}']/Choice[@value='{UNUSABLE}']",
    ):
        if root.find(path) is None:
            return f"it has no {path.removeprefix('.//')}"
    return None
