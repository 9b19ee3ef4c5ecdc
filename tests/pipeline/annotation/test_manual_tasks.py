"""Tasks that people added: an image of the catalogue gives a mask, others are refused with the reason."""

import hashlib
from pathlib import Path

import pytest

from plankseg.config import Settings
from plankseg.imaging.reading import encode_grey
from plankseg.labelling.api.tasks import premask_regions
from plankseg.labelling.testing.fake import FakeLabelStudio
from plankseg.pipeline.annotation.collect_answers import collect_all, collect_manual_tasks
from plankseg.pipeline.annotation.connection import project_for
from plankseg.pipeline.annotation.push_proposals import push
from plankseg.storage.store import Store
from plankseg.storage.tables.labels import LabelRow
from tests.support.little_store import add_model, add_proposal, noisy_image, square, store_with

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
    assert collect_all(store, server, project)[1].new == 0
    assert ours not in {row.image_id for row in store.proposals.chosen(1)}
