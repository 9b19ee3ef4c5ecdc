"""A hostile or broken answer, or a task that a person edited, costs itself with a reason; all others are taken."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from plankseg.labelling.api.tasks import premask_regions, unusable_choice
from plankseg.pipeline.annotation.collect_answers import CollectReport, collect
from plankseg.pipeline.annotation.push_proposals import push
from tests.support.annotation_desk import PREMASK, SHAPE, Desk
from tests.support.little_store import square

Change = Callable[[dict[str, Any]], object]


def raw_task(desk: Desk, index: int) -> dict[str, Any]:
    """The server's own record of a task, to be damaged as a person or another program can."""
    for _, task in desk.server._tasks.values():
        if task["data"].get("image_id") == desk.ids[index]:
            return task
    raise LookupError(index)


def collected(desk: Desk) -> CollectReport:
    """One collect; a second one changes nothing."""
    report = collect(desk.store, desk.server, desk.project)
    version = desk.store.labels.version()
    again = collect(desk.store, desk.server, desk.project)
    assert (again.new, desk.store.labels.version()) == (0, version)
    return report


def assert_others_are_taken(desk: Desk) -> None:
    assert {row.image_id for row in desk.store.labels.answered(1) if row.status == "usable"} >= set(desk.ids[1:])


HOSTILE: dict[str, Change] = {
    "time of change missing": lambda one: one.pop("updated_at"),
    "time of change null": lambda one: one.update(updated_at=None),
    "year 9999": lambda one: one.update(updated_at="9999-12-31T23:59:59Z"),
    "year 9999 in the west": lambda one: one.update(updated_at="9999-12-31T23:59:59-12:00"),
    "year 1": lambda one: one.update(updated_at="0001-01-01T00:00:00+12:00"),
    "no time at all": lambda one: one.update(updated_at="yesterday"),
    "a number for a time": lambda one: one.update(updated_at=1e300),
    "a turned image": lambda one: one["result"][0].update(image_rotation=90),
    "an image of another size": lambda one: one["result"][0].update(original_width=SHAPE[0], original_height=SHAPE[1]),
    "no size": lambda one: one["result"][0].pop("original_width"),
    "a size that is no number": lambda one: one["result"][0].update(original_height="34"),
    "an infinite size": lambda one: one["result"][0].update(original_height=10**300),
    "a tool that is not ours": lambda one: one["result"].append({"type": "polygonlabels", "from_name": "mask"}),
    "a type that is a list": lambda one: one["result"].append({"type": ["brushlabels"]}),
    "a result that is text": lambda one: one.update(result="[]"),
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_answer_is_quarantined_alone_with_its_reason(desk: Desk, change: Change) -> None:
    for index in range(4):
        desk.answer(index, PREMASK)
    change(raw_task(desk, 0)["annotations"][0])
    report = collected(desk)
    row = desk.row(0)
    assert (row.status, row.mask_sha) == ("quarantined", None)
    assert row.reason in report.problems()
    assert f"image {desk.ids[0]}" in str(row.reason)
    assert_others_are_taken(desk)


def test_an_image_whose_answer_is_quarantined_is_asked_again_once_its_task_was_deleted(desk: Desk) -> None:
    desk.answer(0, PREMASK)
    task = raw_task(desk, 0)
    task["annotations"][0]["result"][0].update(image_rotation=90)
    collected(desk)
    assert push(desk.store, desk.server, desk.project, round_number=1).imported == ()
    desk.server.delete_task(task["id"])
    assert push(desk.store, desk.server, desk.project, round_number=1).imported == (desk.ids[0],)
    desk.answer(0, PREMASK)
    collected(desk)
    assert desk.row(0).status == "usable"


def test_an_answer_with_a_wrong_time_counts_once_it_was_updated(desk: Desk) -> None:
    number = desk.answer(0, PREMASK)
    raw_task(desk, 0)["annotations"][0]["updated_at"] = "9999-01-01T00:00:00Z"
    collected(desk)
    desk.server.update_annotation(number, premask_regions(square(SHAPE, 9), origin="manual"), lead_time=1.0)
    assert collected(desk).new == 1
    assert desk.row(0).status == "usable"


LEAD_TIMES = {"400 digits": 10**400, "a month and more": 1e9, "true": True, "below zero": -5, "endless": float("inf")}


@pytest.mark.parametrize("lead_time", LEAD_TIMES.values(), ids=LEAD_TIMES.keys())
def test_a_lead_time_that_is_no_duration_costs_only_the_seconds(desk: Desk, lead_time: object) -> None:
    desk.answer(0, PREMASK)
    server_task = raw_task(desk, 0)
    server_task["annotations"][0]["lead_time"] = lead_time if lead_time != float("inf") else None
    collected(desk)
    assert (desk.row(0).status, desk.row(0).seconds) == ("usable", None)


PEOPLE: dict[str, Change] = {
    "half a character in the address": lambda one: one.update(completed_by={"email": "\ud800@lab.org"}),
    "a very long name": lambda one: one.update(completed_by={"email": "a" * 100_000}),
    "a list for a person": lambda one: one.update(completed_by=[1, 2], created_username=None),
}


@pytest.mark.parametrize("change", PEOPLE.values(), ids=PEOPLE.keys())
def test_an_odd_name_of_the_person_costs_nothing(desk: Desk, change: Change) -> None:
    desk.answer(0, PREMASK)
    change(raw_task(desk, 0)["annotations"][0])
    collected(desk)
    assert desk.row(0).status == "usable"
    assert len(str(desk.row(0).annotator)) <= 254


NO_ANSWERS: dict[str, Change] = {
    "an id that is text": lambda task: task["annotations"][0].update(id="7"),
    "an id that is true": lambda task: task["annotations"][0].update(id=True),
    "an id of 30 digits": lambda task: task["annotations"][0].update(id=10**30),
    "no id": lambda task: task["annotations"][0].pop("id"),
    "text for an answer": lambda task: task.update(annotations=["yes"]),
    "an object for the answers": lambda task: task.update(annotations={"id": 1}),
}


@pytest.mark.parametrize("change", NO_ANSWERS.values(), ids=NO_ANSWERS.keys())
def test_what_stands_in_the_place_of_an_answer_is_named(desk: Desk, change: Change) -> None:
    for index in range(4):
        desk.answer(index, PREMASK)
    task = raw_task(desk, 0)
    change(task)
    report = collected(desk)
    assert any(f"task {task['id']}" in problem for problem in report.problems())
    assert report.open == 1
    assert_others_are_taken(desk)


HARMLESS: dict[str, list[dict[str, Any]]] = {
    "a comment": [{"type": "textarea", "from_name": "comment", "value": {"text": ["torn antenna?"]}}],
    "a relation": [{"type": "relation", "from_id": "premask", "to_id": "b", "direction": "right"}],
    "a further choice": [{"type": "choices", "from_name": "quality", "value": {"choices": ["blurred"]}}],
    "a choice of another control": [{"type": "choices", "from_name": "gear", "value": {"choices": ["unusable"]}}],
    "a rating": [{"type": "rating", "from_name": "stars", "value": {"rating": 3}}],
    "several of them": [
        {"type": "number", "from_name": "count", "value": {"number": 2}},
        {"type": "taxonomy", "from_name": "taxon", "value": {"taxonomy": [["Copepoda"]]}},
        {"type": "datetime", "from_name": "seen", "value": {"datetime": "2026-01-01"}},
    ],
}


@pytest.mark.parametrize("items", HARMLESS.values(), ids=HARMLESS.keys())
def test_what_draws_nothing_does_no_harm(desk: Desk, items: list[dict[str, Any]]) -> None:
    desk.answer(0, PREMASK)
    raw_task(desk, 0)["annotations"][0]["result"] += items
    assert collected(desk).problems() == []
    assert (desk.row(0).status, desk.row(0).origin) == ("usable", "accepted")


def test_unusable_among_further_choices_is_unusable(desk: Desk) -> None:
    choice = unusable_choice()
    choice["value"]["choices"].append("blurred")
    desk.answer(0, result=[*premask_regions(PREMASK, origin="manual"), choice])
    collected(desk)
    assert desk.row(0).status == "unusable"


def test_a_further_choice_without_a_mask_is_asked_about(desk: Desk) -> None:
    desk.answer(0, result=HARMLESS["a further choice"])
    (problem,) = collected(desk).problems()
    assert "'blurred' and no mask" in problem


# --- tasks that a person edited ---------------------------------------------------------------------------------------

EDITED: dict[str, tuple[Callable[[Desk, dict[str, Any]], object], str]] = {
    "round true with its key": (
        lambda desk, data: data.update(round=True, key=f"True:{data['image_id']}"),
        "its round and key were edited",
    ),
    "another round": (lambda desk, data: data.update(round=7), "its round was edited"),
    "another round with its key": (
        lambda desk, data: data.update(round=7, key=f"7:{data['image_id']}"),
        "its round and key were edited",
    ),
    "the key": (lambda desk, data: data.update(key="x"), "its key was edited"),
    "the key gone": (lambda desk, data: data.pop("key"), "its key was edited"),
    "the image id": (lambda desk, data: data.update(image_id="0" * 64), "its image_id was edited"),
    "the image of another task": (
        lambda desk, data: data.update(image_id=desk.ids[1], key=f"1:{desk.ids[1]}"),
        "its image_id and key were edited",
    ),
    "everything": (lambda desk, data: [data.pop(name) for name in ("round", "image_id", "key")], "were edited"),
    "a round of 400 digits": (lambda desk, data: data.update(round=10**400), "its round was edited"),
}


@pytest.mark.parametrize(("change", "words"), EDITED.values(), ids=EDITED.keys())
def test_an_edited_task_is_refused_with_what_was_edited_and_never_taken_for_another_image(
    desk: Desk, change: Callable[[Desk, dict[str, Any]], object], words: str
) -> None:
    for index in range(4):
        desk.answer(index, square(SHAPE, 9 + index))
    task = raw_task(desk, 0)
    before = copy.deepcopy(task["data"])
    change(desk, task["data"])
    report = collected(desk)
    (problem,) = report.problems()
    assert f"Label Studio task {task['id']} is not used: it was pushed for image {desk.ids[0]} of round 1" in problem
    assert words in problem
    assert desk.ids[0] not in {row.image_id for row in desk.store.labels.current()}
    np.testing.assert_array_equal(desk.mask(1), square(SHAPE, 10))
    assert_others_are_taken(desk)
    task["data"].clear()
    task["data"].update(before)
    assert (collected(desk).new, desk.row(0).status) == (1, "usable")


def test_an_edited_task_that_nobody_answered_is_pushed_again_and_hides_no_other(desk: Desk) -> None:
    task = raw_task(desk, 0)
    task["data"].update(image_id=desk.ids[1], key=f"1:{desk.ids[1]}")
    other = raw_task(desk, 1)["id"] if raw_task(desk, 1) is not task else None
    report = push(desk.store, desk.server, desk.project, round_number=1)
    assert report.imported == (desk.ids[0],)
    assert report.removed_doubles == ()
    assert other is None or report.tasks[desk.ids[1]] == other
    assert task["id"] not in report.tasks.values()


def test_a_task_of_ours_without_a_record_is_refused_with_its_own_reason(desk: Desk) -> None:
    data = {"image": "/x.png", "image_id": "a" * 64, "round": 1, "key": f"2:{'a' * 64}"}
    desk.server.import_tasks(desk.project, [{"data": data}])
    (problem,) = collected(desk).problems()
    assert "do not belong together" in problem
    assert "not in the catalogue" not in problem


def test_numbers_that_a_new_server_gives_again_are_no_edits(desk: Desk) -> None:
    """The server's data were deleted: the same project number, the same task numbers, other images behind them."""
    tasks = {task["id"]: task["data"] for task in desk.server.list_tasks(desk.project)}
    first, second = sorted(tasks)[:2]
    for number, data in ((first, tasks[second]), (second, tasks[first])):
        desk.server._tasks[number][1]["data"] = dict(data)
    desk.store.pushes.add([])
    assert len(collected(desk).refusals) == 2
    for number in (first, second):
        desk.server.delete_task(number)
    push(desk.store, desk.server, desk.project, round_number=1)
    assert collected(desk).refusals == ()
