"""Masks in Label Studio's JSON export, of whatever project: brushes and outlines, joined at the image's own size.

Of a task's answers the newest one that was not skipped counts. Names of controls and labels do not matter. Predictions
are no answers. Rectangles and other shapes are refused, because they are no masks.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from plankseg.errors import BrushError, ImageReadError, MaskShapeError
from plankseg.imaging.arrays import Mask
from plankseg.labelling.api.brush_rle import decode_brush
from plankseg.labelling.api.labeling_config import UNUSABLE
from plankseg.labelling.api.regions import drawn_items, fill_outline

_UPLOAD_MARK = re.compile(r"^[0-9a-f]{8}-")  # what Label Studio puts before the name of an uploaded file
_IMAGE_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class AnsweredTask:
    """A task with an answer: the image's name, its id where plankseg pushed it, and the regions of the answer."""

    name: str
    image_id: str | None
    regions: list[Mapping[str, object]]


def read_answered_tasks(path: Path) -> list[AnsweredTask]:
    """The answered tasks of an export, in its order. Raises ImageReadError for a file that is none."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ImageReadError(f"{path} cannot be read as JSON: {error}. Export it again.") from error
    if not isinstance(content, list) or not all(isinstance(task, Mapping) for task in content):
        raise ImageReadError(f"{path} is no list of tasks; export the project from Label Studio as JSON.")
    if content and not any("annotations" in task for task in content):
        raise ImageReadError(
            f"{path} has no annotations, as in JSON-MIN; export the project from Label Studio as JSON."
        )
    return [answered for task in content if (answered := _answered(task)) is not None]


def _answered(task: Mapping[str, object]) -> AnsweredTask | None:
    annotations, data = task.get("annotations"), task.get("data")
    given = [
        annotation
        for annotation in (annotations if isinstance(annotations, list) else [])
        if isinstance(annotation, Mapping) and not annotation.get("was_cancelled")
    ]
    name = _image_name(data) if isinstance(data, Mapping) else None
    if not given or name is None or not isinstance(data, Mapping):
        return None
    newest = max(given, key=lambda annotation: str(annotation.get("updated_at") or annotation.get("created_at") or ""))
    result = newest.get("result")
    regions = [item for item in result if isinstance(item, Mapping)] if isinstance(result, list) else []
    image_id = data.get("image_id")
    is_ours = isinstance(image_id, str) and _IMAGE_ID.fullmatch(image_id)
    return AnsweredTask(name, image_id if is_ours else None, regions)


def _image_name(data: Mapping[str, object]) -> str | None:
    """The path or name of a task's image: of `path` as plankseg exports it, else of the first address of an image."""
    if isinstance(data.get("path"), str):
        return str(data["path"])
    preferred = [data.get("image"), *data.values()]
    address = next((value for value in preferred if isinstance(value, str) and "/" in value), None)
    if address is None:
        return None
    parts = urlsplit(address)
    local = parse_qs(parts.query).get("d")
    folders, _, file = (local[0] if local else unquote(parts.path)).rpartition("/")
    return f"{folders}/{_UPLOAD_MARK.sub('', file)}".lstrip("/")


def mask_of_regions(regions: list[Mapping[str, object]], shape: tuple[int, int], *, name: str) -> Mask:
    """The union of an answer's brushes and outlines; empty without any.

    Raises ImageReadError for an image that was called unusable, another shape or a damaged code, MaskShapeError where
    the answer was given on an image of another size.
    """
    choices = [item.get("value") for item in regions if item.get("type") == "choices"]
    if any(isinstance(choice, Mapping) and choice.get("choices") == [UNUSABLE] for choice in choices):
        raise ImageReadError(f"{name}: the person called the image {UNUSABLE}.")
    mask = np.zeros(shape, dtype=bool)
    for region in drawn_items(regions):
        _check_size(region, shape, name)
        try:
            mask |= _drawn(str(region.get("type")), region.get("value"), shape)
        except BrushError as error:
            raise ImageReadError(f"{name}: {error}") from error
    return mask


def _check_size(region: Mapping[str, object], shape: tuple[int, int], name: str) -> None:
    size = region.get("original_height"), region.get("original_width")
    if None not in size and size != shape:
        raise MaskShapeError(
            f"{name}: the answer was given on an image of {size[1]} x {size[0]} px, this one has {shape[1]} x "
            f"{shape[0]}; left out."
        )
    if region.get("image_rotation") not in (0, None):
        raise ImageReadError(f"{name}: the answer was given on the image turned; turn it upright, and paint it again.")


def _drawn(kind: str, value: object, shape: tuple[int, int]) -> Mask:
    if isinstance(value, Mapping) and "rle" in value:
        return decode_brush(value["rle"], shape=shape)
    if isinstance(value, Mapping) and kind in ("polygon", "polygonlabels"):
        return fill_outline(value.get("points"), shape=shape)
    raise BrushError(f"it holds a region of type {kind[:40]!r}; only brushes and outlines are masks.")
