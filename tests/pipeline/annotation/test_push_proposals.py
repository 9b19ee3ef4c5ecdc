"""Proposed images reach Label Studio, each once; a deleted task is pushed once more."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from plankseg.config import RoundsConfig, Settings
from plankseg.errors import LabelStudioDownError, StoreError
from plankseg.imaging.reading import read_grey
from plankseg.labelling.api.tasks import premask_regions
from plankseg.labelling.testing.fake import FakeLabelStudio
from plankseg.pipeline.annotation.collect_answers import Collected, collect
from plankseg.pipeline.annotation.connection import project_for, project_of
from plankseg.pipeline.annotation.push_proposals import push
from plankseg.pipeline.ingest.register_images import ingest_folder
from plankseg.pipeline.loop.progress import due, read_progress
from plankseg.pipeline.reports.status import read_status
from plankseg.storage.store import Store
from tests.support.annotation_desk import MASK, PREMASK, Desk, task_of
from tests.support.little_store import add_answers, add_proposal, noisy_image, store_with, write_images
from tests.support.s3_servers import S3Server


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


def test_a_task_says_the_path_of_its_image_from_the_archives_folder(tmp_path: Path) -> None:
    for number, taxon in enumerate(("copepod", "salp")):
        write_images(tmp_path / "pool" / taxon, range(2 * number, 2 * number + 2))
    store = Store.open(tmp_path / "store")
    ingest_folder(store, tmp_path / "pool", role="pool")
    ids = store.catalogue.ids("pool")[:3]
    add_proposal(store, 1, ids)
    server = FakeLabelStudio()
    project = project_of(server, Settings())
    push(store, server, project, round_number=1)
    told = {task["data"]["image_id"]: task["data"]["file"] for task in server.list_tasks(project, 1)}
    assert told == {i: store.catalogue.path(i).relative_to(tmp_path / "pool").as_posix() for i in ids}


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
    collect(store, server, project)
    server.delete_task(task_of(server, project, image_id))
    assert push(store, server, project, round_number=1).imported == ()
    assert collect(store, server, project).rounds[1].answered == 1


LOSSES: dict[str, Callable[[Path], object]] = {
    "deleted": lambda path: path.unlink(),
    "overwritten": lambda path: path.write_bytes(b"no image"),
    "a folder in its place": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("lose", LOSSES.values(), ids=LOSSES.keys())
def test_a_proposed_image_that_was_lost_is_left_out_with_a_row_that_says_so(
    store: Store, server: FakeLabelStudio, lose: Callable[[Path], object]
) -> None:
    project = project_for(store, server, Settings())
    lost, *kept = (row.image_id for row in store.proposals.chosen(1))
    lose(store.catalogue.path(lost))
    for _ in range(2):
        report = push(store, server, project, round_number=1)
        assert sorted(report.tasks) == sorted(kept)
    (row,) = store.labels.answered(1)
    assert (row.image_id, row.status) == (lost, "skipped")
    assert "Left out of round 1" in str(row.reason)
    assert read_progress(store).unanswered == 2
    assert row.reason in read_status(store, RoundsConfig()).not_used


def test_an_image_that_was_lost_after_its_push_can_still_be_answered(store: Store, server: FakeLabelStudio) -> None:
    project = project_for(store, server, Settings())
    push(store, server, project, round_number=1)
    lost = store.proposals.chosen(1)[0].image_id
    store.catalogue.path(lost).unlink()
    assert len(push(store, server, project, round_number=1).tasks) == 3
    server.create_annotation(task_of(server, project, lost), [], lead_time=1.0)
    assert collect(store, server, project).rounds[1].answered == 1


def test_a_disk_that_is_not_mounted_costs_no_image(store: Store, server: FakeLabelStudio, tmp_path: Path) -> None:
    project = project_for(store, server, Settings())
    (tmp_path / "pool").rename(tmp_path / "unmounted")
    with pytest.raises(StoreError, match="If their disk is not mounted, mount it"):
        push(store, server, project, round_number=1)
    assert store.labels.answered(1) == []
    (tmp_path / "unmounted").rename(tmp_path / "pool")
    assert len(push(store, server, project, round_number=1).imported) == 3


def turned_jpeg(seed: int, orientation: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    out = io.BytesIO()
    Image.fromarray(noisy_image(seed)).save(out, "JPEG", exif=tags)
    return out.getvalue()


@pytest.mark.parametrize("orientation", [3, 6])
def test_a_jpeg_in_a_bucket_that_the_browser_turns_is_uploaded_as_it_is_decoded(
    s3_server: S3Server, server: FakeLabelStudio, orientation: int
) -> None:
    bucket = s3_server.new_bucket()
    for name, data in (("plain.jpg", turned_jpeg(1, 1)), ("turned.jpg", turned_jpeg(2, orientation))):
        s3_server.client().put_object(Bucket=bucket, Key=f"pool/{name}", Body=data)
    store = Store.open(f"s3://{bucket}/store")
    ingest_folder(store, f"s3://{bucket}/pool", role="pool")
    names = {row.image_id: Path(row.uri).name for row in store.catalogue.rows(store.catalogue.ids("pool"))}
    add_proposal(store, 1, list(names), premask=MASK)
    project = project_for(store, server, Settings())
    push(store, server, project, round_number=1)
    tasks = {names[task["data"]["image_id"]]: task for task in server.list_tasks(project)}
    assert tasks["plain.jpg"]["data"]["image"] == f"s3://{bucket}/pool/plain.jpg"
    assert tasks["turned.jpg"]["data"]["image"].startswith("/data/upload/")
    # A task of an earlier plankseg still shows the file itself: its answer would lie elsewhere.
    server._tasks[tasks["turned.jpg"]["id"]][1]["data"]["image"] = f"s3://{bucket}/pool/turned.jpg"
    for task in tasks.values():
        server.create_annotation(task["id"], premask_regions(MASK, origin="manual"), lead_time=1.0)
    collect(store, server, project)
    status = {names[row.image_id]: row.status for row in store.labels.answered(1)}
    assert status == {"plain.jpg": "usable", "turned.jpg": "quarantined"}
