"""Requests of Label Studio become clicks and masks, and answers are regions in the place of those that were there."""

import json
from typing import Any

import numpy as np
import pytest

from plankseg.errors import BrushError, HookError, PromptError
from plankseg.interactive.prompts import Box, Click, Prompts
from plankseg.labelling.api.regions import Tools, read_mask, tools_of
from plankseg.labelling.api.tasks import TaskIdentity
from plankseg.labelling.assist.protocol import (
    MOST_CLICKS,
    AssistAnswer,
    AssistRequest,
    answer_regions,
    as_result,
    read_prompts,
    read_regions,
    read_request,
)
from tests.support.assist_requests import box, painted, prompt, request
from tests.support.labelling_project import disc

SHAPE = (24, 40)
IMAGE = "a" * 64
MASK = disc(SHAPE)


def read(body: dict[str, Any]) -> AssistRequest:
    found = read_request(json.dumps(body).encode())
    assert found is not None
    return found


def test_a_click_is_read_in_pixels_with_the_mask_on_the_screen() -> None:
    found = read(request(IMAGE, [prompt(6, 10, SHAPE), painted(MASK)]))
    assert (found.task_id, found.owner, found.is_on_screen) == (7, TaskIdentity(1, IMAGE), True)
    assert read_prompts(found, shape=SHAPE) == Prompts((Click(6.0, 10.0, True),))
    ((_, mask),) = read_regions(found.regions, shape=SHAPE)
    np.testing.assert_array_equal(mask, MASK)


def test_an_alt_click_is_negative_and_a_box_has_its_sides() -> None:
    found = read(request(IMAGE, [prompt(6, 10, SHAPE, positive=False), box(3, 5, 12, 20, SHAPE)]))
    prompts = read_prompts(found, shape=SHAPE)
    assert prompts.clicks == (Click(6.0, 10.0, False),)
    assert prompts.box is not None
    np.testing.assert_allclose(
        [prompts.box.top_px, prompts.box.left_px, prompts.box.bottom_px, prompts.box.right_px], [3, 5, 12, 20]
    )


def test_the_second_item_of_a_click_made_while_the_brush_label_is_chosen_is_no_region() -> None:
    twin = prompt(6, 10, SHAPE, type="brushlabels", from_name="mask")
    twin["value"] = twin["value"] | {"brushlabels": ["plankton"]}
    found = read(request(IMAGE, [prompt(6, 10, SHAPE), twin, painted(MASK)]))
    assert [region["id"] for region in found.regions] == ["premask"]
    assert len(found.prompts) == 1


@pytest.mark.parametrize("kind", ["drafts", "annotations", "predictions"])
def test_from_a_page_that_sends_the_click_alone_what_was_saved_last_is_the_mask(kind: str) -> None:
    rows = [
        {"id": 1, "updated_at": "2026-05-04T10:00:00Z", "result": []},
        {"id": 2, "updated_at": "2026-05-04T10:00:05Z", "result": [painted(MASK)]},
    ]
    found = read(request(IMAGE, [prompt(6, 10, SHAPE)], drawn=False, **{kind: rows}))
    assert not found.is_on_screen
    assert "10:00:05" in found.saved_at
    ((_, mask),) = read_regions(found.regions, shape=SHAPE)
    np.testing.assert_array_equal(mask, MASK)


def test_strokes_of_a_draft_count_though_they_are_no_pixels_yet() -> None:
    stroke = {"type": "add", "relativePoints": [10, 50, 90, 50], "relativeStrokeWidth": 10}
    region = painted(MASK)
    region["value"] = {**region["value"], "touches": [stroke]}
    found = read(request(IMAGE, [prompt(6, 10, SHAPE)], drawn=False, drafts=[{"id": 1, "result": [region]}]))
    ((_, mask),) = read_regions(found.regions, shape=SHAPE)
    assert mask[12, 6]
    assert mask[12, 34]
    assert not mask[0, 6]


@pytest.mark.parametrize("context", [None, {}, {"result": None}, {"result": []}, {"result": "x"}, 7])
def test_a_request_without_prompts_asks_for_nothing(context: Any) -> None:
    body = request(IMAGE, []) | {"params": {"context": context}}
    assert read_request(json.dumps(body).encode()) is None


@pytest.mark.parametrize("body", [b"", b"[]x", b"[" * 100_000, b"\xff"])
def test_a_body_that_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(HookError, match="no JSON"):
        read_request(body)


@pytest.mark.parametrize("tasks", [None, [], [{"id": "7"}], "x", [7]])
def test_a_request_about_no_task_is_refused(tasks: Any) -> None:
    body = request(IMAGE, [prompt(6, 10, SHAPE)]) | {"tasks": tasks}
    with pytest.raises(HookError, match="no task"):
        read_request(json.dumps(body).encode())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"from_name": "other"}, "answers clicks"),
        ({"value": {"x": 1, "y": 2, "labels": ["detritus"]}}, "labelled .*detritus"),
        ({"value": {"x": 1, "y": 2, "labels": "plankton"}}, "labelled"),
        ({"value": None}, "instead of a position"),
        ({"value": {"x": "1", "y": 2}}, "no number"),
        ({"value": {"x": True, "y": 2}}, "no number"),
        ({"original_width": 24, "original_height": 40}, "24 x 40"),
        ({"image_rotation": 90}, "turned"),
    ],
)
def test_a_prompt_that_cannot_be_used_is_refused_with_its_reason(changes: dict[str, Any], reason: str) -> None:
    found = read(request(IMAGE, [prompt(6, 10, SHAPE, **changes)]))
    with pytest.raises(PromptError, match=reason):
        read_prompts(found, shape=SHAPE)


def test_five_hundred_clicks_at_once_are_refused() -> None:
    found = read(request(IMAGE, [prompt(6, 10, SHAPE, id=f"click {number}") for number in range(500)]))
    with pytest.raises(PromptError, match=f"500 clicks at once are more than {MOST_CLICKS}"):
        read_prompts(found, shape=SHAPE)


def test_a_box_that_is_turned_is_refused() -> None:
    turned = box(3, 5, 12, 20, SHAPE)
    turned["value"]["rotation"] = 12
    with pytest.raises(PromptError, match="turned box"):
        read_prompts(read(request(IMAGE, [turned])), shape=SHAPE)


def test_a_region_that_cannot_be_read_is_named() -> None:
    found = read(request(IMAGE, [prompt(6, 10, SHAPE), painted(disc((40, 24)), original_width=40)]))
    with pytest.raises(BrushError, match="24 px"):
        read_regions(found.regions, shape=SHAPE)


def test_the_answer_is_exactly_the_mask_whatever_regions_it_replaces() -> None:
    first, second = np.zeros(SHAPE, dtype=bool), MASK
    first[:3] = True
    drawn = [(painted(first, region_id="a"), first), (painted(second, region_id="b"), second)]
    wanted = np.roll(MASK, 2, axis=1)
    regions = answer_regions(drawn, wanted, clicks=3)
    assert [region["id"] for region in regions] == ["a", "b"]
    np.testing.assert_array_equal(read_mask(list(regions), shape=SHAPE), wanted)
    assert tools_of(list(regions)) == Tools(clicks=3)


def test_without_a_region_the_answer_gets_the_id_of_a_pre_mask() -> None:
    (region,) = answer_regions([], MASK, clicks=1)
    assert region["id"] == "premask"


def test_label_studio_takes_the_first_result_and_the_message_goes_with_it() -> None:
    assert as_result(AssistAnswer(message="no")) == {"results": [{"result": [], "score": 1.0, "message": "no"}]}


def test_a_box_counts_like_a_click() -> None:
    found = read(request(IMAGE, [box(3, 5, 12, 20, SHAPE)]))
    assert isinstance(read_prompts(found, shape=SHAPE).box, Box)
