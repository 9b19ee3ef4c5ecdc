"""The mask of an answer: its painted and outlined regions, joined at the image's own size."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from skimage.draw import polygon

from plankseg.errors import AnswerError, BrushError
from plankseg.imaging.arrays import Mask
from plankseg.labelling.api.brush_rle import decode_brush
from plankseg.labelling.api.labeling_config import BOX, BRUSH, CLICK, LABEL, OUTLINE, OUTLINE_LABEL, QUALITY, UNUSABLE
from plankseg.labelling.api.words import shortened

# Items of an answer that draw nothing: what a person adds to the labelling configuration does no harm.
DRAWS_NOTHING = ("choices", "datetime", "number", "rating", "relation", "taxonomy", "textarea")
LABELS = {("brushlabels", BRUSH): LABEL, ("polygonlabels", OUTLINE): OUTLINE_LABEL}
# Of a draft, Label Studio keeps strokes as paths.
SHAPES = {"brushlabels": ("rle", "touches"), "polygonlabels": ("points",)}
FEWEST_POINTS = 3
FARTHEST = 1e6  # per cent: where Label Studio lets nobody click

CLICKS = "plankseg_clicks"
"""In a region's `meta`: with how many clicks and boxes it was made. Label Studio keeps it in the annotation."""


@dataclass(frozen=True)
class Tools:
    """With what a person made an answer: clicks and boxes that the assistant answered, and outlines.

    `unanswered` are clicks and boxes that were left in the answer: they draw nothing. Strokes are not told apart.
    """

    clicks: int = 0
    outlines: int = 0
    unanswered: int = 0


def tools_of(result: object) -> Tools:
    """The tools that an answer's regions tell of; numbers of clicks that no person reaches count as none."""
    items = [item for item in result if isinstance(item, Mapping)] if isinstance(result, list) else []
    return Tools(
        clicks=clicks_of(items),
        outlines=sum(item.get("type") == "polygonlabels" and _has_shape(item) for item in items),
        unanswered=len(_prompt_ids(items)),
    )


def clicks_of(regions: Sequence[Mapping[str, Any]]) -> int:
    """With how many clicks and boxes regions were made, as their `meta` says."""
    metas = [region.get("meta") for region in regions]
    counts = [meta.get(CLICKS) for meta in metas if isinstance(meta, Mapping)]
    return sum(count for count in counts if type(count) is int and 0 <= count < 1_000_000)


def drawn_items(items: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The items that draw, or claim to; clicks and boxes do not.

    Label Studio gives a region or a click that was made while two labels were chosen a second item of the same id,
    with the other label and without a shape of that label's kind. It is left out.
    """
    prompts = _prompt_ids(items)
    shaped = prompts | {_id(item) for item in items if _has_shape(item)}
    return [
        item
        for item in items
        if item.get("type") not in DRAWS_NOTHING and (_has_shape(item) or not _id(item) or _id(item) not in shaped)
    ]


def _has_shape(item: Mapping[str, Any]) -> bool:
    """Whether an item holds the shape that its type says: a brush code, or the points of an outline."""
    kind, value = item.get("type"), item.get("value")
    return isinstance(value, Mapping) and isinstance(kind, str) and any(name in value for name in SHAPES.get(kind, ()))


def _id(item: Mapping[str, Any]) -> str:
    return item["id"] if isinstance(item.get("id"), str) else ""


def _prompt_ids(items: Sequence[Mapping[str, Any]]) -> set[str]:
    return {
        _id(item)
        for item in items
        if item.get("from_name") in (CLICK, BOX) and item.get("type") in ("keypoint", "rectangle") and _id(item)
    }


def read_mask(result: object, *, shape: tuple[int, int]) -> Mask | None:
    """The union of all painted and outlined regions of one answer; None where the person called the image unusable.

    Comments, relations, further choices and clicks that were not answered are ignored. Raises BrushError for a region
    that was not drawn with our brush or outline, or on an image of another size or turned, and for a malformed code.
    """
    if not isinstance(result, list) or not all(isinstance(item, Mapping) for item in result):
        raise BrushError("The answer is no list of regions.")
    choices = [choice for item in result for choice in _quality_choices(item)]
    if UNUSABLE in choices:
        return None
    regions = drawn_items(result)
    if choices and not regions:
        raise AnswerError(
            f"It holds the choice {shortened(choices[0])} and no mask, which may mean an empty mask or an unusable "
            f"image. Open the task, paint the mask or choose {UNUSABLE!r}, and submit."
        )
    mask = np.zeros(shape, dtype=bool)
    for region in regions:
        mask |= read_region(region, shape)
    return mask


def _quality_choices(item: Mapping[str, Any]) -> list[object]:
    """The choices that a result item makes in the control `quality`."""
    value = item.get("value")
    if item.get("type") != "choices" or item.get("from_name") != QUALITY or not isinstance(value, Mapping):
        return []
    choices = value.get("choices")
    return choices if isinstance(choices, list) else []


def read_region(region: Mapping[str, Any], shape: tuple[int, int]) -> Mask:
    """The mask of one region, painted or outlined, at the size of its image of `shape` (h, w). Raises BrushError."""
    kind, name = region.get("type"), region.get("from_name")
    label = LABELS.get((kind, name)) if isinstance(kind, str) and isinstance(name, str) else None
    if label is None:
        raise BrushError(
            f"It holds a {shortened(kind)} region of control {shortened(name)}; only the brush {BRUSH!r} and the "
            f"outline {OUTLINE!r} are read."
        )
    value = region.get("value")
    if not isinstance(value, Mapping):
        raise BrushError(f"A region holds {shortened(value)} instead of a brush code.")
    if value.get(kind) != [label]:
        raise BrushError(f"A region is labelled {shortened(value.get(kind))}; the label is {label!r}.")
    if kind == "brushlabels":
        mask = decode_brush(value.get("rle"), shape=shape)
    else:
        mask = fill_outline(value.get("points"), shape=shape)
    require_painted_as_decoded(region, shape)
    return mask


def fill_outline(points: object, *, shape: tuple[int, int]) -> Mask:
    """The inside of an outline: pixels whose centre it holds, where it crosses itself by the even-odd rule.

    `points` are [x, y] in per cent of an image of `shape` (h, w). Raises BrushError unless they are at least three.
    """
    if not isinstance(points, list) or len(points) < FEWEST_POINTS or not all(map(_is_point, points)):
        raise BrushError(f"An outline has the points {shortened(points)}; it needs at least three, [x, y] in per cent.")
    columns, rows = (np.array(points, dtype=float) / 100 * (shape[1], shape[0]) - 0.5).T
    mask = np.zeros(shape, dtype=bool)
    mask[polygon(rows, columns, shape)] = True
    return mask


def _is_point(point: object) -> bool:
    return (
        isinstance(point, list)
        and len(point) == 2
        and all(isinstance(number, int | float) and not isinstance(number, bool) for number in point)
        and all(-FARTHEST <= number <= FARTHEST for number in point)
    )


def require_painted_as_decoded(region: Mapping[str, Any], shape: tuple[int, int]) -> None:
    """Raise AnswerError unless the region was painted on the image as we decode it: same size, not turned.

    A brush code of 90 x 120 px has as many values as one of 120 x 90 px, so the code alone does not tell.
    """
    height, width = shape
    painted = (region.get("original_width"), region.get("original_height"))
    if painted != (width, height):
        raise AnswerError(
            f"It was painted on an image of {shortened(painted[0])} x {shortened(painted[1])} px, but this image is "
            f"{width} x {height} px: the browser showed it turned, or another image. Delete the task; the next push "
            "shows the image as plankseg reads it."
        )
    if region.get("image_rotation") not in (0, None):
        raise AnswerError(
            f"It was painted on the image turned by {shortened(region.get('image_rotation'))} degrees. Open the task, "
            "turn the image upright, delete the region, paint it again and submit."
        )
