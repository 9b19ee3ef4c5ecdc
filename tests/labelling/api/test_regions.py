"""Outlines are filled exactly and joined with what was painted; clicks that were left over never spoil a mask."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.path import Path

from plankseg.errors import BrushError
from plankseg.labelling.api.regions import CLICKS, Tools, fill_outline, read_mask, tools_of
from tests.support.assist_requests import box, painted, prompt
from tests.support.labelling_project import disc

SHAPE = (24, 40)
SQUARE = [[25, 25], [75, 25], [75, 75], [25, 75]]


def outline(points: Any, **changes: Any) -> dict[str, Any]:
    size = {"original_width": SHAPE[1], "original_height": SHAPE[0], "image_rotation": 0}
    names = {"id": "outline", "from_name": "outline", "to_name": "image", "type": "polygonlabels"}
    return names | size | {"value": {"points": points, "closed": True, "polygonlabels": ["outline"]}} | changes


def test_an_outline_is_filled_at_the_images_own_size() -> None:
    mask = read_mask([outline(SQUARE)], shape=SHAPE)
    assert mask is not None
    assert mask[6:18, 10:30].all()
    assert mask.sum() == 12 * 20


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=3, max_size=8))
def test_a_pixel_belongs_to_an_outline_that_holds_its_centre(points: list[tuple[float, float]]) -> None:
    corners = np.array(points) / 100 * (SHAPE[1], SHAPE[0])
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]] + 0.5
    centres = np.stack([columns.ravel(), rows.ravel()], axis=-1)
    surely_in = Path(corners).contains_points(centres, radius=-0.01) & Path(corners).contains_points(
        centres, radius=0.01
    )
    crossings = np.abs(_winding(corners, centres)) == 1  # where an outline crosses itself the even-odd rule decides
    mask = fill_outline([list(point) for point in points], shape=SHAPE)
    clear = (surely_in & crossings).reshape(SHAPE)
    away = _distance(corners, centres).reshape(SHAPE) > 0.01
    assert mask[clear & away].all()


def _winding(corners: np.ndarray, centres: np.ndarray) -> np.ndarray:
    angles = np.arctan2(*(corners[None] - centres[:, None]).transpose(2, 0, 1)[::-1])
    turns = np.diff(np.concatenate([angles, angles[:, :1]], axis=1), axis=1)
    return np.round(((turns + np.pi) % (2 * np.pi) - np.pi).sum(axis=1) / (2 * np.pi))


def _distance(corners: np.ndarray, centres: np.ndarray) -> np.ndarray:
    nearest = np.full(len(centres), np.inf)
    for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        along = end - start
        share = np.clip((centres - start) @ along / max(along @ along, 1e-12), 0, 1)[:, None]
        nearest = np.minimum(nearest, np.linalg.norm(centres - start - share * along, axis=1))
    return nearest


def test_outlines_and_paint_are_joined() -> None:
    mask = read_mask([painted(disc(SHAPE)), outline(SQUARE)], shape=SHAPE)
    assert mask is not None
    np.testing.assert_array_equal(mask, disc(SHAPE) | fill_outline(SQUARE, shape=SHAPE))


def test_an_outline_drawn_while_the_brush_label_is_chosen_is_one_outline() -> None:
    both = outline(SQUARE, type="brushlabels", from_name="mask")
    both["value"] = both["value"] | {"brushlabels": ["plankton"]}
    mask = read_mask([outline(SQUARE), both], shape=SHAPE)
    np.testing.assert_array_equal(mask, fill_outline(SQUARE, shape=SHAPE))
    assert tools_of([outline(SQUARE), both]).outlines == 1


@pytest.mark.parametrize("points", [None, [], SQUARE[:2], [[1, 2, 3]] * 3, [["a", 1]] * 3, [[1e9, 1]] * 3, "x"])
def test_an_outline_without_three_points_is_refused(points: Any) -> None:
    with pytest.raises(BrushError, match="at least three"):
        read_mask([outline(points)], shape=SHAPE)


@pytest.mark.parametrize(
    "changes",
    [
        {"original_width": 24, "original_height": 40},
        {"image_rotation": 90},
        {"from_name": "other"},
        {"value": {"points": SQUARE, "polygonlabels": ["other"]}},
    ],
)
def test_an_outline_of_another_tool_label_or_image_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(BrushError):
        read_mask([outline(SQUARE, **changes)], shape=SHAPE)


def test_clicks_and_boxes_that_were_left_over_are_ignored_and_counted() -> None:
    twin = prompt(3, 4, SHAPE, type="brushlabels", from_name="mask")
    items = [painted(disc(SHAPE)), prompt(3, 4, SHAPE), twin, box(1, 1, 9, 9, SHAPE)]
    np.testing.assert_array_equal(read_mask(items, shape=SHAPE), disc(SHAPE))
    assert tools_of(items) == Tools(unanswered=2)


def test_nothing_but_left_over_clicks_is_an_empty_mask() -> None:
    mask = read_mask([prompt(3, 4, SHAPE)], shape=SHAPE)
    assert mask is not None
    assert not mask.any()


def test_a_region_without_its_code_is_no_click() -> None:
    broken = painted(disc(SHAPE))
    del broken["value"]["rle"]
    with pytest.raises(BrushError):
        read_mask([broken], shape=SHAPE)


@pytest.mark.parametrize(
    ("meta", "clicks"),
    [({CLICKS: 3}, 3), ({}, 0), (None, 0), ({CLICKS: -1}, 0), ({CLICKS: True}, 0), ({CLICKS: 10**9}, 0), ("x", 0)],
)
def test_the_clicks_of_an_answer_are_read_from_its_regions(meta: Any, clicks: int) -> None:
    assert tools_of([painted(disc(SHAPE), meta=meta)]).clicks == clicks


@pytest.mark.parametrize("result", [None, 7, "x", [7], [{"id": {}, "type": [], "from_name": {}}]])
def test_the_tools_of_what_is_no_answer_are_none(result: Any) -> None:
    assert tools_of(result) == Tools()
