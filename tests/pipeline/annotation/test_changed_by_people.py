"""People delete tasks and projects and add tasks of their own: nothing is lost, all is told."""

import hashlib
from pathlib import Path

import pytest

from plankseg.config import Settings
from plankseg.errors import ProjectGoneError
from plankseg.imaging.reading import encode_grey
from plankseg.labelling.api.tasks import premask_regions
from plankseg.labelling.testing.fake import FakeLabelStudio
from plankseg.pipeline.annotation.sync import collect_all, collect_manual_tasks, project_for, push
from plankseg.pipeline.loop.progress import due, read_progress
from plankseg.storage.store import Store
from plankseg.storage.tables.labels import LabelRow
from tests.support.little_store import add_answers, add_model, add_proposal, noisy_image, square, store_with

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


def task_of(server: FakeLabelStudio, project: int, image_id: str) -> int:
    return {task["data"].get("image_id"): int(task["id"]) for task in server.list_tasks(project)}[image_id]


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


def test_a_deleted_project_stops_the_loop_and_a_new_title_goes_on_with_what_is_open(
    store: Store, server: FakeLabelStudio
) -> None:
    project = project_for(store, server, Settings())
    push(store, server, project, round_number=1)
    first, *others = (row.image_id for row in store.proposals.chosen(1))
    server.create_annotation(task_of(server, project, first), [], lead_time=1.0)
    collect_all(store, server, project)
    server.delete_project(project)
    with pytest.raises(ProjectGoneError, match=r"rounds \[1\] were pushed, is gone.*PLANKSEG_PROJECT to a new title"):
        project_for(store, server, Settings())
    server.add_project("plankseg", "")  # one that only has the same name is not the one
    with pytest.raises(ProjectGoneError):
        project_for(store, server, Settings())
    new = project_for(store, server, Settings(project="plankseg 2"))
    push(store, server, new, round_number=1, title="plankseg 2")
    assert sorted(task["data"]["image_id"] for task in server.list_tasks(new)) == sorted(others)
    assert project_for(store, server, Settings(project="plankseg 2")) == new
    assert len(store.labels.answered(1)) == 1


def test_a_task_added_by_hand_is_learnt_from_as_drawn_if_its_image_is_ours_and_else_refused_with_the_reason(
    store: Store, server: FakeLabelStudio
) -> None:
    project = project_for(store, server, Settings())
    push(store, server, project, round_number=1)
    ours = store.catalogue.ids("pool")[4]
    png = store.catalogue.path(ours).read_bytes()
    stranger = encode_grey(noisy_image(999))
    addresses = server.upload_images(project, {"mine.png": png, "strange.png": stranger})
    server.import_tasks(project, [{"data": {"image": address}} for address in addresses.values()])
    server.import_tasks(project, [{"data": {"image": "http://elsewhere.invalid/a.png"}}, {"data": {"text": "hello"}}])
    by_hand = [task for task in server.list_tasks(project) if "key" not in task["data"]]
    assert collect_manual_tasks(store, server, by_hand).refused == (), "not answered: nothing to say yet"
    for task in by_hand:
        server.create_annotation(task["id"], premask_regions(MASK, origin="manual"), lead_time=9.0)

    tasks = server.list_tasks(project)
    found = collect_manual_tasks(store, server, tasks)
    (row,) = found.labels
    assert isinstance(row, LabelRow)
    assert (row.image_id, row.origin, row.status, row.round, row.seconds) == (ours, "drawn", "usable", 1, 9.0)
    assert store.labels.history(ours) == [row]
    reasons = " / ".join(found.refused)
    assert len(found.refused) == 3
    assert f"({hashlib.sha256(stranger).hexdigest()[:8]}) is not in the catalogue; ingest it first." in reasons
    assert "'http://elsewhere.invalid/a.png' does not lie in Label Studio" in reasons

    again = collect_manual_tasks(store, server, tasks)
    assert (again.labels, again.refused) == ((), found.refused)
    assert collect_all(store, server, project)[1].new == 0
    assert ours not in {row.image_id for row in store.proposals.chosen(1)}
