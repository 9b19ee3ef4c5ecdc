"""Label Studio's requests to an interactive backend, as clicks and masks, and the answers that it takes.

A request holds the task with its drafts and predictions, and in its context the prompts. The pages that
`label_studio/serve.sh` serves add the regions as they are on the screen; another Label Studio does not.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from plankseg.errors import BrushError, HookError, PromptError
from plankseg.imaging.arrays import Mask
from plankseg.interactive.prompts import Box, Click, Prompts
from plankseg.labelling.api.brush_rle import encode_brush
from plankseg.labelling.api.labeling_config import BOX, BRUSH, CLICK, IMAGE, LABEL, OUTLINE_LABEL
from plankseg.labelling.api.regions import CLICKS, drawn_items, read_region, require_painted_as_decoded
from plankseg.labelling.api.tasks import PREMASK_REGION, Task, TaskIdentity, identity
from plankseg.labelling.assist.strokes import paint_strokes

MOST_CLICKS = 100
"""More clicks at once are no person's: with Auto-Accept on, each click comes alone."""

DrawnRegion = tuple[Mapping[str, Any], Mask]
DRAWN = ("brushlabels", "polygonlabels")
PERCENT = 100


@dataclass(frozen=True)
class AssistRequest:
    """One request about one task: `owner` is None for a task that plankseg did not push.

    `prompts` are the items of the context that ask for something, `regions` those that were drawn so far: as the screen
    shows them where `is_on_screen`, else as they were last saved.
    """

    task_id: int
    owner: TaskIdentity | None
    prompts: tuple[Mapping[str, Any], ...]
    regions: tuple[Mapping[str, Any], ...]
    is_on_screen: bool
    saved_at: str


@dataclass(frozen=True)
class AssistAnswer:
    """What the regions become, or why they stay: `message` is for the person."""

    regions: tuple[Task, ...] = ()
    message: str | None = None


def read_request(body: bytes) -> AssistRequest | None:
    """The request of a `/predict`; None where nothing was asked interactively. Raises HookError for another body."""
    try:
        payload = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise HookError(f"The request's body of {len(body)} bytes is no JSON ({type(error).__name__}).") from error
    context = _at(payload, "params", "context")
    tasks = _at(payload, "tasks")
    if not isinstance(context, Mapping) or not _mappings(context.get("result")):
        return None
    if not _mappings(tasks) or type(tasks[0].get("id")) is not int:
        raise HookError("The request names no task.")
    task = tasks[0]
    items = _mappings(context.get("result"))
    is_on_screen = context.get("drawn") is True
    saved, saved_at = ([], "") if is_on_screen else _saved(task)
    return AssistRequest(
        task_id=task["id"],
        owner=identity(task),
        prompts=tuple(item for item in items if item.get("type") not in DRAWN),
        regions=_drawn(items if is_on_screen else saved),
        is_on_screen=is_on_screen,
        saved_at=saved_at,
    )


def _at(value: object, *names: str) -> Any:
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _mappings(value: object) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _drawn(items: Sequence[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    return tuple(item for item in drawn_items(items) if item.get("type") in DRAWN)


def _saved(task: Mapping[str, Any]) -> tuple[list[Mapping[str, Any]], str]:
    """What Label Studio saved last of a task, and when: a draft, else an answer, else the pre-mask."""
    for kind in ("drafts", "annotations", "predictions"):
        found = [row for row in _mappings(task.get(kind)) if isinstance(row.get("result"), list)]
        if found:
            newest = max(found, key=lambda row: str(row.get("updated_at")))
            return _mappings(newest["result"]), f"{kind} {newest.get('id')} {newest.get('updated_at')}"
    return [], ""


def read_prompts(request: AssistRequest, *, shape: tuple[int, int]) -> Prompts:
    """The clicks and the box of a request, in pixels of an image of `shape` (h, w).

    Raises PromptError for prompts of other tools, of an image of another size, too many, or with positions that are no
    numbers.
    """
    clicks: list[Click] = []
    box = None
    for item in request.prompts:
        _check_size(item, shape)
        name, value = item.get("from_name"), item.get("value")
        if not isinstance(value, Mapping):
            raise PromptError(f"A prompt holds {str(value)[:60]!r} instead of a position; click again.")
        if not _is_ours(value.get("labels")):
            raise PromptError(
                f"The prompt is labelled {str(value.get('labels'))[:60]}; the assistant draws {LABEL!r} alone, "
                "which the label 'mask' stands for. Choose that label, or none."
            )
        if name == CLICK:
            clicks.append(_click(item, value, shape))
        elif name == BOX:
            box = _box(value, shape)
        else:
            raise PromptError(
                f"The assistant answers clicks ({CLICK!r}) and boxes ({BOX!r}) of plankseg's labelling configuration, "
                f"not {str(name)[:60]!r}."
            )
    if len(clicks) > MOST_CLICKS:
        raise PromptError(
            f"{len(clicks)} clicks at once are more than {MOST_CLICKS}: the mask is unchanged. Delete their regions, "
            "and switch Auto-Accept Suggestions on."
        )
    return Prompts(tuple(clicks), box)


def _is_ours(labels: object) -> bool:
    """True for the labels that a prompt may carry: those that were chosen when it was made."""
    return labels is None or (isinstance(labels, list) and all(label in (LABEL, OUTLINE_LABEL) for label in labels))


def _check_size(item: Mapping[str, Any], shape: tuple[int, int]) -> None:
    try:
        require_painted_as_decoded(item, shape)
    except BrushError as error:
        raise PromptError(f"The click cannot be used. {error}") from error


def _click(item: Mapping[str, Any], value: Mapping[str, Any], shape: tuple[int, int]) -> Click:
    y, x = _share(value, "y"), _share(value, "x")
    return Click(y_px=y * shape[0], x_px=x * shape[1], is_positive=item.get("is_positive") is not False)


def _box(value: Mapping[str, Any], shape: tuple[int, int]) -> Box:
    top, left, height, width = (_share(value, name) for name in ("y", "x", "height", "width"))
    if value.get("rotation") not in (0, None):
        raise PromptError("A turned box cannot be used; draw one that stands upright.")
    return Box(top * shape[0], left * shape[1], (top + height) * shape[0], (left + width) * shape[1])


def _share(value: Mapping[str, Any], name: str) -> float:
    number = value.get(name)
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise PromptError(f"A prompt has the position {name} {str(number)[:60]!r}, which is no number; click again.")
    return float(number) / PERCENT


def read_regions(regions: Sequence[Mapping[str, Any]], *, shape: tuple[int, int]) -> list[DrawnRegion]:
    """Each region that was drawn, with its mask. Raises BrushError as `read_mask` of answers does."""
    return [(region, _mask_of(region, shape)) for region in regions]


def _mask_of(region: Mapping[str, Any], shape: tuple[int, int]) -> Mask:
    """The mask of a region; one of a draft may hold strokes, beside a brush code or instead of one."""
    value = region.get("value")
    if not isinstance(value, Mapping) or not value.get("touches"):
        return read_region(region, shape)
    if value.get("rle"):
        before = read_region(region, shape)
    else:
        require_painted_as_decoded(region, shape)
        before = np.zeros(shape, dtype=bool)
    return paint_strokes(value["touches"], before)


def answer_regions(drawn: Sequence[DrawnRegion], mask: Mask, *, clicks: int) -> tuple[Task, ...]:
    """Regions that together are exactly `mask`, each in the place of the drawn one with its id.

    The first takes all of it, so nothing else is left of the others; without any, it gets the id of a pre-mask.
    """
    ids = [str(region.get("id")) for region, _ in drawn] or [PREMASK_REGION]
    nothing = np.zeros_like(mask)
    return tuple(
        _region(region_id, nothing if number else mask, clicks=0 if number else clicks)
        for number, region_id in enumerate(ids)
    )


def _region(region_id: str, mask: Mask, *, clicks: int) -> Task:
    height, width = mask.shape
    return {
        "id": region_id,
        "from_name": BRUSH,
        "to_name": IMAGE,
        "type": "brushlabels",
        "origin": "manual",
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": {"format": "rle", "rle": encode_brush(mask), "brushlabels": [LABEL]},
        "meta": {CLICKS: clicks},
    }


def as_result(answer: AssistAnswer) -> dict[str, Any]:
    """The body of an answer. Without regions Label Studio takes the click away and changes nothing."""
    found: dict[str, Any] = {"result": list(answer.regions), "score": 1.0}
    if answer.message:
        found["message"] = answer.message
    return {"results": [found]}
