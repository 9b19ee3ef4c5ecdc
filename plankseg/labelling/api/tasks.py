"""Label Studio tasks as JSON: the image, our own key, and the pre-mask as a prediction.

The server validates nothing, so a task is checked here before it is sent, and answers are checked in `answers`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from pydantic import SecretStr

from plankseg.errors import LabelStudioError, ScoreError
from plankseg.imaging.arrays import Mask
from plankseg.labelling.api.brush_rle import encode_brush
from plankseg.labelling.api.labeling_config import BRUSH, IMAGE, LABEL, QUALITY, UNUSABLE

# One constant version, not the model's id: the label stream shows the predictions of the project's `model_version`
# alone, which Label Studio sets at the first import and never again, so later rounds would come without pre-masks.
PREMASK_VERSION = "plankseg"

PREMASK_REGION = "premask"
"""Id of the region of a pre-mask; it survives in the answer, and the assistant's answer replaces it by its id."""

Task = dict[str, Any]

LARGEST_ROUND = 2**31 - 1


@dataclass(frozen=True)
class PushItem:
    """One image to be corrected: `premask` is None where there is no model's mask, `score` is its uncertainty.

    `png` is uploaded; it is None where Label Studio reads the image itself, at its `url` in a bucket. A person is told
    the relative path of the image's `file`, and that it is number `rank` of `ranks` of its round, in the order in which
    it is asked.
    """

    image_id: str
    png: bytes | None
    premask: Mask | None
    model_id: str | None
    score: float | None
    taxon: str | None = None
    url: str | None = None
    file: str | None = None
    rank: int | None = None
    ranks: int | None = None

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


class TaskIdentity(NamedTuple):
    """Round and image of a task that plankseg pushed."""

    round: int
    image_id: str


def task_key(round: int, image_id: str) -> str:
    """Our own name of a task: an import can be repeated, a key may exist once."""
    return f"{round}:{image_id}"


def identity(task: Mapping[str, Any]) -> TaskIdentity | None:
    """Round and image of a task that we pushed; None for a task that somebody else put into the project."""
    data = task.get("data")
    if not isinstance(data, Mapping):
        return None
    number, image_id = data.get("round"), data.get("image_id")
    if type(number) is not int or not isinstance(image_id, str):  # `true` is an int to Python, and equals 1
        return None
    if not 0 <= number <= LARGEST_ROUND or data.get("key") != task_key(number, image_id):
        return None
    return TaskIdentity(number, image_id)


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
        "uncertainty": None if item.score is None else float(f"{item.score:.3g}"),
        "model_id": item.model_id,
    }
    told = {"file": item.file, "rank": item.rank, "ranks": item.ranks}
    data |= {name: value for name, value in told.items() if value is not None}
    task: Task = {"data": data}
    if item.premask is not None:
        task["predictions"] = [premask_prediction(item.premask, item.score)]
    return task


def premask_prediction(premask: Mask, score: float | None) -> Task:
    """A pre-mask as a prediction of Label Studio, with the image's uncertainty within 0 and 1."""
    bounded = None if score is None else min(max(float(score), 0.0), 1.0)
    result = premask_regions(premask, origin="prediction") if premask.any() else []
    return {"model_version": PREMASK_VERSION, "score": bounded, "result": result}


def premask_regions(mask: Mask, *, origin: str) -> list[Task]:
    """One brush region, as the interface would send it."""
    height, width = mask.shape
    value = {"format": "rle", "rle": encode_brush(mask), "brushlabels": [LABEL]}
    size = {"original_width": width, "original_height": height, "image_rotation": 0}
    region = {"id": PREMASK_REGION, "from_name": BRUSH, "to_name": IMAGE, "type": "brushlabels", "origin": origin}
    return [{**region, **size, "value": value}]


def unusable_choice() -> Task:
    """The result item of the choice 'unusable'."""
    value = {"choices": [UNUSABLE]}
    return {"id": "quality", "from_name": QUALITY, "to_name": IMAGE, "type": "choices", "value": value}
