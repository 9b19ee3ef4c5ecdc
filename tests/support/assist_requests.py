"""Requests of Label Studio to the assistant, as its server sends them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from plankseg.labelling.api.tasks import premask_regions, task_key

ITEM = {"to_name": "image", "image_rotation": 0, "origin": "manual"}


def prompt(y: float, x: float, shape: tuple[int, int], *, positive: bool = True, **changes: Any) -> dict[str, Any]:
    """A click at a row and a column of an image of `shape`, as the page sends it."""
    value = {"x": 100 * x / shape[1], "y": 100 * y / shape[0], "width": 0.6, "labels": ["plankton"]}
    size = {"original_width": shape[1], "original_height": shape[0]}
    return {**ITEM, **size, "id": "click", "from_name": "click", "type": "keypoint", "is_positive": positive} | (
        {"value": value} | changes
    )


def box(top: float, left: float, bottom: float, right: float, shape: tuple[int, int]) -> dict[str, Any]:
    value = {
        "x": 100 * left / shape[1],
        "y": 100 * top / shape[0],
        "width": 100 * (right - left) / shape[1],
        "height": 100 * (bottom - top) / shape[0],
        "rotation": 0,
    }
    size = {"original_width": shape[1], "original_height": shape[0]}
    return {**ITEM, **size, "id": "box", "from_name": "box", "type": "rectangle", "value": value}


def painted(mask: np.ndarray, *, region_id: str = "premask", **changes: Any) -> dict[str, Any]:
    """A painted region."""
    return premask_regions(mask, origin="manual")[0] | {"id": region_id} | changes


def request(
    image_id: str, items: Sequence[dict[str, Any]], *, drawn: bool = True, round: int = 1, **task: Any
) -> dict[str, Any]:
    """The body of a `/predict`; `drawn`: from a page that sends along what is on the screen."""
    data = {"image_id": image_id, "round": round, "key": task_key(round, image_id), "image": "/data/upload/1/x.png"}
    context = {"result": list(items)} | ({"drawn": True} if drawn else {})
    return {
        "tasks": [{"id": 7, "data": data, "drafts": [], "predictions": [], "annotations": []} | task],
        "project": "1.1795675027",
        "label_config": "<View/>",
        "params": {"login": None, "password": None, "context": context},
    }
