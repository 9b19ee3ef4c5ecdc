"""Tasks that people added: an image of the catalogue gives a mask, others are refused with the reason."""

import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from plankseg.config import Settings
from plankseg.errors import LabelStudioDownError
from plankseg.imaging.reading import encode_grey
from plankseg.labelling.api.tasks import premask_regions
from plankseg.labelling.testing.fake import FakeLabelStudio
from plankseg.pipeline.annotation.collect_answers import collect, collect_manual_tasks
from plankseg.pipeline.annotation.connection import project_for, project_of_validation
from plankseg.pipeline.annotation.push_proposals import push
from plankseg.pipeline.annotation.validation_images import collect_masks
from plankseg.pipeline.ingest.register_images import Role, ingest_folder
from plankseg.storage.store import Store
from plankseg.storage.tables.labels import LabelRow
from tests.support.annotation_desk import MASK
from tests.support.little_store import noisy_image, store_with


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
    manual = [task for task in server.list_tasks(project) if "key" not in task["data"]]
    assert collect_manual_tasks(store, server, manual).refused == (), "not answered: nothing to say yet"
    for task in manual:
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
    assert collect(store, server, project).rounds[1].new == 0
    assert ours not in {row.image_id for row in store.proposals.chosen(1)}


def added(server: FakeLabelStudio, project: int, images: dict[str, bytes]) -> dict[str, int]:
    """Tasks that a person added with uploads of her own, each answered with a mask; their numbers."""
    addresses = server.upload_images(project, images)
    known = {task["id"] for task in server.list_tasks(project)}
    server.import_tasks(project, [{"data": {"image": addresses[name]}} for name in images])
    numbers = sorted({task["id"] for task in server.list_tasks(project)} - known)
    for number in numbers:
        server.create_annotation(number, premask_regions(MASK, origin="manual"), lead_time=9.0)
    return dict(zip(images, numbers, strict=True))


def bytes_of(store: Store, role: Role, index: int) -> bytes:
    return store.catalogue.read_bytes(store.catalogue.ids(role)[index])


NOTES = {
    "cut off in the middle": lambda text: text[: len(text) // 2],
    "empty": lambda text: "",
    "a list": lambda text: "[1, 2]",
    "other values": lambda text: '{"/data/upload/1/a.png": 7}',
    "no JSON": lambda text: "\x00\x01",
}


@pytest.mark.parametrize("damage", NOTES.values(), ids=NOTES.keys())
def test_a_damaged_note_of_image_ids_costs_only_fetching_the_images_again(
    store: Store, server: FakeLabelStudio, damage: Callable[[str], str], caplog: pytest.LogCaptureFixture
) -> None:
    project = project_for(store, server, Settings())
    added(server, project, {"mine.png": bytes_of(store, "pool", 4)})
    note = store.work_dir("by-hand") / "images.json"
    note.write_text(damage('{"/data/upload/1/00000000-mine.png": "' + "0" * 64 + '"}'))
    (row,) = collect_manual_tasks(store, server, server.list_tasks(project)).labels
    assert row.image_id == store.catalogue.ids("pool")[4]
    assert "images.json" in caplog.text
    assert row.image_id in note.read_text()


def test_a_task_of_a_validation_image_does_not_replace_its_given_mask(tmp_path: Path, server: FakeLabelStudio) -> None:
    store = store_with(tmp_path, pool=2, validation=2)
    (before,) = [row for row in store.labels.current() if row.image_id == store.catalogue.ids("validation")[0]]
    project = project_for(store, server, Settings())
    number = added(server, project, {"kept.png": bytes_of(store, "validation", 0)})["kept.png"]
    found = collect_manual_tasks(store, server, server.list_tasks(project))
    assert found.labels == ()
    (refusal,) = found.refusals
    assert (refusal.task, "belongs to the validation set" in refusal.reason) == (number, True)
    assert before in store.labels.current()


def test_a_task_that_was_added_to_the_validation_project_is_refused_and_named(
    tmp_path: Path, server: FakeLabelStudio
) -> None:
    store = store_with(tmp_path, pool=2, validation=2)
    project = project_of_validation(server, Settings())
    number = added(server, project, {"kept.png": bytes_of(store, "validation", 0)})["kept.png"]
    (problem,) = collect_masks(store, server, project).problems()
    assert f"Label Studio task {number} is not used: it was added by hand to the project of the validation" in problem


def test_thousands_of_foreign_tasks_are_one_line(store: Store, server: FakeLabelStudio) -> None:
    project = project_for(store, server, Settings())
    push(store, server, project, round_number=1)
    strange = {f"{number}.png": b"image %d" % number for number in range(3000)}
    addresses = server.upload_images(project, strange).values()
    server.import_tasks(project, [{"data": {"image": address}} for address in addresses])
    server.import_tasks(project, [{"data": {"image": "http://elsewhere.invalid/a.png"}}] * 2)
    for _, task in server._tasks.values():
        if "key" not in task["data"]:
            task["annotations"] = [
                {"id": 100_000 + task["id"], "result": [], "updated_at": "2026-05-04T10:00:00Z", "lead_time": 1}
            ]
    report = collect(store, server, project)
    assert len(report.refusals) == 3002
    many, two = report.problems()
    assert many.startswith("3000 Label Studio tasks (")
    assert "and 2995 more) are not used. The first: it was added by hand, and its image" in many
    assert two.startswith("2 Label Studio tasks (")
    assert len(many) < 400


def turned(seed: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = 3  # by 180 degrees: width and height stay, so no comparison of sizes can tell
    out = io.BytesIO()
    Image.fromarray(noisy_image(seed)).save(out, "JPEG", exif=tags)
    return out.getvalue()


def test_an_upload_that_the_browser_turns_is_quarantined(store: Store, server: FakeLabelStudio, tmp_path: Path) -> None:
    folder = tmp_path / "turned"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(turned(50))
    ingest_folder(store, folder, role="pool")
    project = project_for(store, server, Settings())
    added(server, project, {"a.jpg": turned(50)})
    report = collect_manual_tasks(store, server, server.list_tasks(project))
    (row,) = report.labels
    assert (row.status, row.mask_sha) == ("quarantined", None)
    assert "The browser shows its file turned" in report.quarantined[0]


CHANGED: dict[str, Callable[[dict[str, Any]], object]] = {
    "turned in Label Studio": lambda region: region.update(image_rotation=270),
    "painted on another size": lambda region: region.update(original_width=34, original_height=41),
}


@pytest.mark.parametrize("change", CHANGED.values(), ids=CHANGED.keys())
def test_the_size_of_a_mask_on_an_upload_is_compared_with_the_catalogue(
    store: Store, server: FakeLabelStudio, change: Callable[[dict[str, Any]], object]
) -> None:
    project = project_for(store, server, Settings())
    number = added(server, project, {"mine.png": bytes_of(store, "pool", 4)})["mine.png"]
    change(server._tasks[number][1]["annotations"][0]["result"][0])
    (row,) = collect_manual_tasks(store, server, server.list_tasks(project)).labels
    assert row.status == "quarantined"


@pytest.mark.parametrize("data", [None, [], "x", {"image": None}, {"image": ["a"]}, {"image": "\ud800"}])
def test_odd_data_of_a_task_cost_the_task(store: Store, server: FakeLabelStudio, data: object) -> None:
    project = project_for(store, server, Settings())
    mine = added(server, project, {"odd.png": b"1", "mine.png": bytes_of(store, "pool", 4)})
    server._tasks[mine["odd.png"]][1]["data"] = data
    tasks = [json.loads(json.dumps(task)) for _, task in server._tasks.values()]
    found = collect_manual_tasks(store, server, tasks)
    assert [row.status for row in found.labels] == ["usable"]
    assert [refusal.task for refusal in found.refusals] == [mine["odd.png"]]


def test_a_server_that_goes_away_while_images_are_fetched_is_no_reason_to_refuse(
    store: Store, server: FakeLabelStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = project_for(store, server, Settings())
    added(server, project, {"mine.png": bytes_of(store, "pool", 4)})

    def away(address: str) -> bytes:
        raise LabelStudioDownError(address)

    monkeypatch.setattr(server, "fetch_image", away)
    with pytest.raises(LabelStudioDownError):
        collect_manual_tasks(store, server, server.list_tasks(project))
