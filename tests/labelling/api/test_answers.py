"""Only an answer that can be read without doubt becomes a mask."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from plankseg.labelling.api.answers import Answer, read_answers
from plankseg.labelling.api.tasks import build_task, premask_regions, unusable_choice
from tests.support.labelling_project import disc, item

SHAPE = (24, 40)
GOOD = premask_regions(disc(SHAPE), origin="prediction")


def annotation(result: object, number: int = 1, **changes: Any) -> dict[str, Any]:
    fields = {"id": number, "result": result, "was_cancelled": False, "completed_by": 1, "lead_time": 7.5}
    return fields | {"created_username": " anna@lab.org, 1", "updated_at": "2026-05-04T10:00:00.5Z"} | changes


def task(*annotations: dict[str, Any], **changes: Any) -> dict[str, Any]:
    built = build_task(item("img"), round=3, image_url="/data/upload/1/x.png")
    return built | {"id": 87, "annotations": list(annotations), "drafts": []} | changes


def read(made: dict[str, Any], premask: np.ndarray | None = disc(SHAPE)) -> list[Answer]:  # noqa: B008
    return read_answers(made, shape_of={"img": SHAPE}.__getitem__, premask_of=lambda _: premask)


def region(**changes: Any) -> dict[str, Any]:
    value = GOOD[0]["value"] | changes.pop("value", {})
    return GOOD[0] | {"value": value} | changes


@given(arrays(bool, SHAPE))
def test_what_is_pushed_and_accepted_is_read_back_to_the_pixel(mask: np.ndarray) -> None:
    pushed = build_task(item("img", premask=mask), round=3, image_url="/x")
    made = pushed | {"id": 87, "annotations": [annotation(pushed["predictions"][0]["result"])]}
    (found,) = read(made, premask=mask)
    assert (found.status, found.origin) == ("usable", "accepted")
    assert np.array_equal(found.mask, mask)


def test_the_fields_of_an_answer() -> None:
    (found,) = read(task(annotation(GOOD)))
    assert (found.image_id, found.round, found.task_id, found.annotation_id) == ("img", 3, 87, 1)
    assert (found.annotator, found.seconds, found.reason) == ("anna@lab.org", 7.5, None)
    assert found.updated_at.isoformat() == "2026-05-04T10:00:00.500000+00:00"


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"created_username": " Anna Lee anna@lab.org, 4"}, "anna@lab.org"),
        ({"created_username": "", "completed_by": 4}, "4"),
        ({"completed_by": {"id": 4, "email": "bo@lab.org"}}, "bo@lab.org"),
        ({"completed_by": {"id": 4}}, "4"),
    ],
)
def test_the_annotator_is_an_address_or_a_number(changes: dict[str, Any], name: str) -> None:
    assert read(task(annotation(GOOD, **changes)))[0].annotator == name


@pytest.mark.parametrize("lead_time", [None, -1, float("nan"), "7"])
def test_a_lead_time_that_is_no_duration_is_none(lead_time: object) -> None:
    assert read(task(annotation(GOOD, lead_time=lead_time)))[0].seconds is None


def test_without_a_premask_an_answer_is_drawn() -> None:
    assert read(task(annotation(GOOD)), premask=None)[0].origin == "drawn"


def test_an_empty_answer_to_an_empty_premask_is_accepted() -> None:
    assert read(task(annotation([])), premask=np.zeros(SHAPE, bool))[0].origin == "accepted"


def test_a_draft_is_no_answer() -> None:
    assert read(task(drafts=[annotation(GOOD)])) == []


def test_a_skip_never_gives_its_mask() -> None:
    (found,) = read(task(annotation(GOOD, was_cancelled=True)))
    assert (found.status, found.mask) == ("skipped", None)


def test_unusable_counts_even_beside_a_broken_region() -> None:
    (found,) = read(task(annotation([region(value={"rle": [1, 2, 3]}), unusable_choice()])))
    assert (found.status, found.mask, found.reason) == ("unusable", None, None)


@pytest.mark.parametrize(
    "result",
    [
        None,
        {"a": 1},
        ["x"],
        [{}],
        [region(value={"rle": [1, 2, 3]})],
        [region(value={"rle": None})],
        [region(value={"rle": "255"})],
        [region(value={"brushlabels": ["copepod"]})],
        [region(value={"brushlabels": ["plankton", "copepod"]})],
        [region(value={"brushlabels": None})],
        [region(from_name="other")],
        [region(type="rectanglelabels")],
        [region(type="polygonlabels")],
        [region() | {"value": None}],
        [GOOD[0], region(value={"rle": [1, 2, 3]})],
        premask_regions(disc((30, 30)), origin="manual"),
        [{"type": "choices", "from_name": "quality", "value": {"choices": ["blurred"]}}],
    ],
    ids=lambda value: repr(value)[:60],
)
def test_a_malformed_answer_is_quarantined_alone_and_says_where_and_what_next(result: object) -> None:
    broken, fine = read(task(annotation(result, 1), annotation(GOOD, 2)))
    assert (broken.status, broken.mask) == ("quarantined", None)
    for part in ("image img", "task 87", "Answer 1", "submit"):
        assert part in (broken.reason or "")
    assert (fine.status, fine.origin) == ("usable", "accepted")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"original_width": 24, "original_height": 40}, "on an image of 24 x 40 px, but this image is 40 x 24 px"),
        ({"original_width": 1, "original_height": 1}, "1 x 1 px"),
        ({"original_width": None}, "None x 24 px"),
        ({"image_rotation": 90}, "turned by 90 degrees"),
        ({"image_rotation": -360}, "turned by -360 degrees"),
    ],
)
def test_a_mask_painted_on_another_size_or_a_turned_image_is_quarantined(changes: dict[str, Any], words: str) -> None:
    (found,) = read(task(annotation([region(**changes)])))
    assert (found.status, found.mask) == ("quarantined", None)
    assert words in str(found.reason)


def test_every_region_of_an_answer_is_compared_with_the_image() -> None:
    (found,) = read(task(annotation([GOOD[0], region(image_rotation=180)])))
    assert found.status == "quarantined"


def test_an_image_that_we_do_not_know_is_quarantined() -> None:
    (found,) = read_answers(task(annotation(GOOD)), shape_of={}.__getitem__, premask_of=lambda _: None)
    assert found.status == "quarantined"


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda x: (
            st.lists(x)
            | st.dictionaries(st.sampled_from(["type", "value", "rle", "from_name", "brushlabels", "choices"]), x)
        ),
        max_leaves=12,
    )
)
def test_any_json_in_an_answer_gives_one_answer(result: object) -> None:
    (found,) = read(task(annotation(result)))
    assert (found.mask is not None) == (found.status == "usable")
