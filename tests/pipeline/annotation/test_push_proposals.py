"""Proposed images reach Label Studio, each once; a deleted task is pushed once more."""

from pathlib import Path

import numpy as np
import pytest

from plankseg.config import Settings
from plankseg.errors import LabelStudioDownError
from plankseg.imaging.reading import read_grey
from plankseg.labelling.testing.fake import FakeLabelStudio
from plankseg.pipeline.annotation.collect_answers import Collected, collect_all
from plankseg.pipeline.annotation.connection import project_for, project_of
from plankseg.pipeline.annotation.push_proposals import push
from plankseg.pipeline.loop.progress import due, read_progress
from plankseg.storage.store import Store
from tests.support.annotation_desk import PREMASK, Desk, desk_with_round
from tests.support.little_store import add_answers, add_model, add_proposal, square, store_with

MASK = square((34, 41), 9)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = store_with(tmp_path, source=1, pool=6)
    add_model(store, 0)
    add_proposal(store, 1, store.catalogue.ids("pool")[:3], premask=MASK)
    return store


@pytest.fixture
def server() -> FakeLabelStudio:
    return FakeLabelStudio()


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return desk_with_round(tmp_path)


def task_of(server: FakeLabelStudio, project: int, image_id: str) -> int:
    return {task["data"].get("image_id"): int(task["id"]) for task in server.list_tasks(project)}[image_id]


def test_every_proposed_image_is_pushed_once_as_its_own_pixels_with_its_premask(desk: Desk) -> None:
    again = push(desk.store, desk.server, desk.project, round_number=1)
    assert again.imported == ()
    tasks = desk.server.list_tasks(desk.project, 1)
    assert sorted(task["data"]["image_id"] for task in tasks) == sorted(desk.ids)
    assert all(task["predictions"][0]["result"] for task in tasks)
    assert desk.server.uploaded == 4
    sent = {name.removesuffix(".png"): png for (_, name), png in desk.server._images.items()}
    for image_id in desk.ids:
        np.testing.assert_array_equal(read_grey(sent[image_id]), desk.store.catalogue.load(image_id))


def test_an_answered_image_is_not_pushed_again_when_its_task_was_deleted(desk: Desk) -> None:
    desk.answer(0, PREMASK)
    desk.collect()
    for task in desk.server.list_tasks(desk.project, 1):
        desk.server.delete_task(task["id"])
    report = push(desk.store, desk.server, desk.project, round_number=1)
    assert sorted(report.imported) == sorted(desk.ids[1:])
    assert desk.collect() == Collected(new=0, answered=1, open=3, quarantined=())


@pytest.mark.parametrize("fault", ["break_before", "break_after"])
def test_a_push_that_broke_off_is_completed_by_the_next_one(tmp_path: Path, fault: str) -> None:
    store = store_with(tmp_path, pool=3)
    ids = store.catalogue.ids("pool")
    add_proposal(store, 1, ids, premask=PREMASK)
    server = FakeLabelStudio()
    project = project_of(server, Settings())
    setattr(server, fault, "upload_images")
    with pytest.raises(LabelStudioDownError):
        push(store, server, project, round_number=1)
    push(store, server, project, round_number=1)
    assert sorted(task["data"]["image_id"] for task in server.list_tasks(project, 1)) == ids


def test_a_deleted_task_is_pushed_once_more_and_deleted_again_its_image_counts_as_skipped(
    store: Store, server: FakeLabelStudio
) -> None:
    project = project_for(store, server, Settings())
    gone, *kept = (row.image_id for row in store.proposals.chosen(1))
    for _ in range(2):
        push(store, server, project, round_number=1)
        server.delete_task(task_of(server, project, gone))
    for _ in range(3):
        push(store, server, project, round_number=1)
    assert sorted(task["data"]["image_id"] for task in server.list_tasks(project)) == sorted(kept)
    (row,) = store.labels.answered(1)
    assert (row.image_id, row.status) == (gone, "skipped")
    assert "deleted in Label Studio, and again" in str(row.reason)
    add_answers(store, 1, kept, mask=MASK)
    assert due(read_progress(store), budget=2) == "retrain"


def test_a_deleted_task_that_was_collected_before_stays_answered(store: Store, server: FakeLabelStudio) -> None:
    project = project_for(store, server, Settings())
    push(store, server, project, round_number=1)
    image_id = store.proposals.chosen(1)[0].image_id
    server.create_annotation(task_of(server, project, image_id), [], lead_time=1.0)
    collect_all(store, server, project)
    server.delete_task(task_of(server, project, image_id))
    assert push(store, server, project, round_number=1).imported == ()
    assert collect_all(store, server, project)[1].answered == 1
