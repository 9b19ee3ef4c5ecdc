"""What we rely on in Label Studio, on the fake and on the real server alike."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from plankseg.errors import LabelStudioError
from plankseg.labelling.api.brush_rle import decode_brush, encode_brush
from plankseg.labelling.api.tasks import PushItem, Task, build_task, identity, premask_regions, unusable_choice
from plankseg.labelling.sync.pull import RoundAnswers, read_round
from plankseg.labelling.sync.push import PushReport, push_round
from plankseg.labelling.testing.fake import FakeLabelStudio
from tests.support.labelling_project import CONFIG, Bench, disc, item, png

SHAPE = (24, 40)
IMAGES = ("aa", "bb", "cc")


def push(bench: Bench, items: list[PushItem], round: int = 1) -> PushReport:
    return push_round(bench.ls, bench.project, items, round=round)


def pull(bench: Bench, items: list[PushItem], round: int = 1) -> RoundAnswers:
    premasks = {i.image_id: i.premask for i in items}
    shapes = {i.image_id: SHAPE if i.premask is None else i.premask.shape for i in items}
    return read_round(
        bench.ls.list_tasks(bench.project, round),
        round=round,
        shape_of=shapes.__getitem__,
        premask_of=premasks.__getitem__,
    )


def answer(bench: Bench, task: int, result: list, **how: object) -> int:
    return bench.ls.create_annotation(task, result, lead_time=4.5, **how)


def prediction_of(bench: Bench, task_id: int) -> Task:
    """The one pre-mask of a task."""
    (task,) = [task for task in bench.ls.list_tasks(bench.project, 1) if task["id"] == task_id]
    (prediction,) = task["predictions"]
    return prediction


def test_check_names_the_account(bench: Bench) -> None:
    assert "@plankseg.local" in bench.ls.check()


def test_a_project_is_made_once_per_title(bench: Bench) -> None:
    first = bench.ls.ensure_project("contract of one title", CONFIG)
    assert bench.ls.ensure_project("contract of one title", CONFIG) == first
    assert first != bench.project


def test_a_task_is_offered_to_as_many_people_as_it_is_asked_of_and_a_later_import_leaves_that(bench: Bench) -> None:
    tasks = push(bench, [item(IMAGES[0]), item(IMAGES[1])]).tasks
    bench.ls.ask_people([tasks[IMAGES[0]]], 2)
    push(bench, [item(IMAGES[2])], round=2)
    listed = {task["data"]["image_id"]: task["overlap"] for task in bench.ls.list_tasks(bench.project)}
    assert listed == {IMAGES[0]: 2, IMAGES[1]: 1, IMAGES[2]: 1}
    assert len(prediction_of(bench, tasks[IMAGES[0]])["result"]) == 1


def test_a_configuration_without_our_names_is_refused(bench: Bench) -> None:
    with pytest.raises(LabelStudioError, match="BrushLabels"):
        bench.ls.ensure_project("no brush", '<View><Image name="image" value="$image"/></View>')


def test_an_upload_is_found_again_and_not_repeated(bench: Bench) -> None:
    images = {"a.png": png(SHAPE, 1), "b.png": png(SHAPE, 2)}
    first = bench.ls.upload_images(bench.project, images)
    again = bench.ls.upload_images(bench.project, images | {"c.png": png(SHAPE, 3)})
    assert {name: again[name] for name in images} == first
    assert len(set(again.values())) == 3


@pytest.mark.parametrize("shape", [(11, 29), (1285, 134), (70, 600)])
def test_a_premask_accepted_unchanged_comes_back_to_the_pixel(bench: Bench, shape: tuple[int, int]) -> None:
    items = [item("odd", shape=shape, premask=np.random.default_rng(1).random(shape) < 0.05)]
    task_id = push(bench, items).tasks["odd"]
    prediction = prediction_of(bench, task_id)
    answer(bench, task_id, prediction["result"], parent_prediction=prediction["id"])
    (found,) = pull(bench, items).answers
    assert np.array_equal(found.mask, items[0].premask)
    assert (found.origin, found.status, found.task_id, found.seconds) == ("accepted", "usable", task_id, 4.5)
    assert "@plankseg.local" in found.annotator
    assert abs(datetime.now(UTC) - found.updated_at) < timedelta(minutes=5)


def test_pushing_twice_changes_nothing(bench: Bench) -> None:
    items = [item("one"), item("two", premask=None, score=None), item("three", premask=np.zeros(SHAPE, bool))]
    first = push(bench, items)
    second = push(bench, items)
    assert second.tasks == first.tasks
    assert (first.imported, second.imported) == (("one", "two", "three"), ())
    tasks = bench.ls.list_tasks(bench.project)
    assert [identity(task) for task in tasks] == [(1, "one"), (1, "two"), (1, "three")]
    assert [len(task["predictions"]) for task in tasks] == [1, 0, 1]
    assert tasks[2]["predictions"][0]["result"] == []


def test_a_push_that_was_half_done_is_completed(bench: Bench) -> None:
    push(bench, [item("one")])
    report = push(bench, [item("one"), item("two")])
    assert report.imported == ("two",)
    assert len(bench.ls.list_tasks(bench.project, 1)) == 2


def test_a_premask_that_the_import_lost_is_given_again_and_shown_in_the_label_stream(bench: Bench) -> None:
    """Label Studio repeats an import that met a locked database, without its predictions."""
    items = [item("lost"), item("answered"), item("none", premask=None, score=None)]
    urls = bench.ls.upload_images(bench.project, {f"{i.image_id}.png": png(SHAPE) for i in items})
    tasks = [build_task(i, round=1, image_url=urls[f"{i.image_id}.png"]) for i in items]
    bench.ls.import_tasks(bench.project, [{"data": task["data"]} for task in tasks])
    _, answered, _ = bench.ls.list_tasks(bench.project, 1)
    answer(bench, answered["id"], premask_regions(disc(SHAPE), origin="manual"))
    for _ in range(2):
        push(bench, items)
        listed = bench.ls.list_tasks(bench.project, 1)
        assert [len(task["predictions"]) for task in listed] == [1, 0, 0]
    (given,) = listed[0]["predictions"]
    assert (given["result"], given["score"]) == (tasks[0]["predictions"][0]["result"], 0.5)
    if bench.label_stream is not None:
        assert bench.label_stream(1)["predictions"][0]["id"] == given["id"]


def test_rounds_are_listed_apart(bench: Bench) -> None:
    push(bench, [item("one")], round=1)
    push(bench, [item("one"), item("two")], round=2)
    assert [identity(task) for task in bench.ls.list_tasks(bench.project, 2)] == [(2, "one"), (2, "two")]
    assert len(bench.ls.list_tasks(bench.project)) == 3
    assert bench.ls.list_tasks(bench.project, 3) == []


def test_doubles_keep_the_touched_one_and_lose_the_rest(bench: Bench) -> None:
    url = bench.ls.upload_images(bench.project, {"one.png": png(SHAPE)})["one.png"]
    bench.ls.import_tasks(bench.project, [build_task(item("one"), round=1, image_url=url)] * 3)
    ids = [task["id"] for task in bench.ls.list_tasks(bench.project)]
    bench.save_draft(ids[2], premask_regions(disc(SHAPE), origin="manual"))
    answer(bench, ids[1], premask_regions(disc(SHAPE), origin="manual"))
    report = push(bench, [item("one")])
    assert report.tasks == {"one": ids[1]}
    assert (report.removed_doubles, report.kept_doubles) == ((ids[0],), (ids[2],))
    assert [task["id"] for task in bench.ls.list_tasks(bench.project)] == ids[1:]
    assert pull(bench, [item("one")]).unanswered == ()


def test_a_project_with_more_than_a_page_of_tasks_is_listed_whole(bench: Bench) -> None:
    url = bench.ls.upload_images(bench.project, {"one.png": png(SHAPE)})["one.png"]
    tasks = [build_task(item(f"i{n}", premask=None), round=1, image_url=url) for n in range(200)]
    bench.ls.import_tasks(bench.project, tasks)
    listed = bench.ls.list_tasks(bench.project, 1)
    assert {identity(task) for task in listed} == {(1, f"i{n}") for n in range(200)}
    assert len(listed) == 200


def test_every_kind_of_answer_is_told_apart(bench: Bench) -> None:
    names = ["accepted", "corrected", "two_regions", "empty", "skipped", "unusable", "draft", "none", "size", "shape"]
    items = [*(item(name) for name in names), item("drawn", premask=None)]
    tasks = push(bench, items).tasks
    seen = premask_regions(disc(SHAPE), origin="prediction")
    small, corner = disc(SHAPE, 0.2), np.zeros(SHAPE, bool)
    corner[:3, :3] = True
    manual = premask_regions(corner, origin="manual")
    answer(bench, tasks["accepted"], seen)
    answer(bench, tasks["corrected"], premask_regions(small, origin="prediction-changed"))
    answer(bench, tasks["two_regions"], [*seen, {**manual[0], "id": "second"}])
    answer(bench, tasks["empty"], [])
    answer(bench, tasks["skipped"], seen, was_cancelled=True)
    answer(bench, tasks["unusable"], [*seen, unusable_choice()])
    bench.save_draft(tasks["draft"], seen)
    answer(bench, tasks["size"], premask_regions(disc((10, 10)), origin="manual"))
    answer(bench, tasks["shape"], [{**seen[0], "type": "polygonlabels"}])
    answer(bench, tasks["drawn"], manual)

    pulled = pull(bench, items)
    found = {a.image_id: a for a in pulled.answers}
    assert {name: (a.status, a.origin) for name, a in found.items()} == {
        "accepted": ("usable", "accepted"),
        "corrected": ("usable", "corrected"),
        "two_regions": ("usable", "corrected"),
        "empty": ("usable", "empty"),
        "skipped": ("skipped", "empty"),
        "unusable": ("unusable", "empty"),
        "size": ("quarantined", "empty"),
        "shape": ("quarantined", "empty"),
        "drawn": ("usable", "drawn"),
    }
    assert np.array_equal(found["corrected"].mask, small)
    assert np.array_equal(found["two_regions"].mask, disc(SHAPE) | corner)
    assert not found["empty"].mask.any()
    assert [found[name].mask for name in ("skipped", "unusable", "size", "shape")] == [None] * 4
    assert f"image size (Label Studio task {tasks['size']})" in found["size"].reason
    assert "announces 400 values" in found["size"].reason
    assert "'polygonlabels'" in found["shape"].reason
    assert sorted(pulled.unanswered) == ["draft", "none"]
    assert pulled.unanswered


def test_two_people_give_two_answers_and_an_edit_gives_a_newer_one(bench: Bench) -> None:
    items = [item("one")]
    task = push(bench, items).tasks["one"]
    first = answer(bench, task, premask_regions(disc(SHAPE), origin="prediction"))
    answer(bench, task, premask_regions(disc(SHAPE, 0.2), origin="manual"))
    before = pull(bench, items)
    assert [a.origin for a in before.answers] == ["accepted", "corrected"]
    assert not before.unanswered
    bench.ls.update_annotation(first, [], lead_time=9.0)
    after = pull(bench, items).answers
    assert [(a.annotation_id == first, a.origin) for a in after] == [(False, "corrected"), (True, "empty")]
    assert after[1].updated_at > before.answers[1].updated_at
    assert after[1].seconds == 9.0


def test_a_skip_that_is_answered_later_counts(bench: Bench) -> None:
    items = [item("one")]
    seen = premask_regions(disc(SHAPE), origin="prediction")
    number = answer(bench, push(bench, items).tasks["one"], seen, was_cancelled=True)
    bench.ls.update_annotation(number, seen, lead_time=1.0)
    assert [a.status for a in pull(bench, items).answers] == ["usable"]


def test_other_peoples_tasks_are_left_alone(bench: Bench) -> None:
    url = bench.ls.upload_images(bench.project, {"one.png": png(SHAPE)})["one.png"]
    bench.ls.import_tasks(bench.project, [{"data": {"image": url, "round": 1}}, {"data": {"image": url}}])
    push(bench, [item("one")])
    pulled = pull(bench, [item("one")])
    assert (list(pulled.tasks), len(pulled.foreign)) == (["one"], 1)
    assert len(bench.ls.list_tasks(bench.project)) == 3


def test_a_tab_is_made_once_per_title(bench: Bench) -> None:
    first = bench.ls.ensure_tab(bench.project, "round 1", 1)
    assert bench.ls.ensure_tab(bench.project, "round 1", 1) == first
    assert bench.ls.ensure_tab(bench.project, "round 2", 2) != first
    of_others = bench.ls.ensure_tab(bench.project, "by hand", None)
    assert bench.ls.ensure_tab(bench.project, "by hand", None) == of_others


def test_what_is_not_there_is_an_error(bench: Bench) -> None:
    with pytest.raises(LabelStudioError, match="404"):
        answer(bench, 10**9, [])
    with pytest.raises(LabelStudioError, match="404"):
        bench.ls.update_annotation(10**9, [], lead_time=1.0)
    with pytest.raises(LabelStudioError, match="404"):
        bench.ls.delete_task(10**9)


def test_the_prediction_is_stored_as_it_was_sent(bench: Bench) -> None:
    push(bench, [item("one", score=1.7), item("two", score=-0.2)])
    tasks = bench.ls.list_tasks(bench.project, 1)
    region = tasks[0]["predictions"][0]["result"][0]
    assert [task["predictions"][0]["score"] for task in tasks] == [1.0, 0.0]
    assert [task["data"]["uncertainty"] for task in tasks] == [1.7, -0.2]
    assert (region["original_width"], region["original_height"]) == (40, 24)
    assert region["value"]["rle"] == encode_brush(disc(SHAPE))
    assert np.array_equal(decode_brush(region["value"]["rle"], shape=SHAPE), disc(SHAPE))


def test_a_project_of_an_earlier_plankseg_gets_the_later_controls_and_keeps_tasks_and_answers(bench: Bench) -> None:
    earlier = (Path(__file__).parents[2] / "stores" / "labeling_config_1715021.xml").read_text()
    title = f"of an earlier plankseg {os.getpid()}"
    changed = earlier.replace("#e0245e", "#00aa00")  # by a person
    if isinstance(bench.ls, FakeLabelStudio):
        project = bench.ls.add_project(title, changed)
    else:
        bench.ls._write("POST", "api/projects/", {"title": title, "label_config": changed})  # type: ignore[attr-defined]
        project = bench.ls._first_of(title)  # type: ignore[attr-defined]
    premask = disc((24, 40))
    (task,) = push_round(bench.ls, project, [item("img", premask=premask)], round=1).tasks.values()
    bench.ls.create_annotation(task, premask_regions(premask, origin="manual"), lead_time=3.0)
    before = bench.ls.list_tasks(project)
    assert bench.ls.ensure_project(title, CONFIG) == project
    assert bench.ls.ensure_project(title, CONFIG) == project
    now = bench.ls.config_of(project) if isinstance(bench.ls, FakeLabelStudio) else config_of(bench.ls, project)
    assert "#00aa00" in now
    assert [name in now for name in ('name="outline"', 'name="click"', 'name="box"')] == [True] * 3
    assert bench.ls.list_tasks(project) == before


def config_of(client: Any, project: int) -> str:
    return str(client._read(f"api/projects/{project}/")["label_config"])
