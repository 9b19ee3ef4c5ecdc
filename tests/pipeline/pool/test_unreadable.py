"""One lost or changed file costs itself, never a training, a push, a proposal or a report; and it can come back."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from plankseg.config import Settings
from plankseg.errors import EmptyPoolError, StoreDownError
from plankseg.labelling.testing.fake import FakeLabelStudio
from plankseg.pipeline.acquisition.propose import propose
from plankseg.pipeline.annotation.connection import project_for
from plankseg.pipeline.annotation.push_proposals import push
from plankseg.pipeline.ingest.register_images import ingest_folder
from plankseg.pipeline.loop.progress import describe, due, read_progress
from plankseg.pipeline.pool.candidates import choosable
from plankseg.pipeline.pool.unreadable import unreadable
from plankseg.pipeline.reports.store_report import write_report
from plankseg.pipeline.training.round_training import fit, training_set
from plankseg.storage.store import Store
from plankseg.storage.tables.catalogue import Catalogue
from plankseg.storage.tables.exclusions import ExclusionRow
from tests.support.little_store import add_answers, add_model, add_proposal, square, store_with
from tests.support.tiny_recipe import TINY

CPU = Settings(device="cpu", project="plankseg")
MASK = square((34, 41), 9)


def deleted(path: Path) -> None:
    path.unlink()


def saved_anew(path: Path) -> None:
    Image.fromarray(np.full((30, 30), 7, np.uint8)).save(path)


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:40])


def a_folder_in_its_place(path: Path) -> None:
    path.unlink()
    path.mkdir()


HARMS = [deleted, saved_anew, cut_off, a_folder_in_its_place]


def remove(store: Store, image_id: str) -> None:
    store.exclusions.record([ExclusionRow(image_id=image_id, kind="removed", reason="a thumb on the lens")])


@pytest.mark.parametrize("harm", HARMS)
def test_training_leaves_out_what_cannot_be_read_with_a_warning_and_a_row(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, harm: Callable[[Path], None]
) -> None:
    store = store_with(tmp_path, source=12, validation=6)
    before = training_set(store, TINY, 0)
    lost = [before.examples[0].image_id, before.validation[0].image_id]
    for image_id in lost:
        harm(store.catalogue.path(image_id))
    with caplog.at_level(logging.WARNING):
        data = training_set(store, TINY, 0)
    used = {example.image_id for example in (*data.examples, *data.validation, *data.test)}
    assert not used & set(lost)
    assert data.unreadable == set(lost)
    assert all(image_id in caplog.text for image_id in lost)
    assert store.exclusions.current("unreadable").keys() == set(lost)


def test_a_training_that_lost_nothing_is_what_it_always_was(tmp_path: Path) -> None:
    store = store_with(tmp_path, source=12, validation=6)
    data = training_set(store, TINY, 0)
    assert (data.unreadable, store.exclusions.current()) == (frozenset(), {})


@pytest.mark.slow
def test_a_source_image_saved_anew_stops_no_training(tmp_path: Path) -> None:
    store = store_with(tmp_path, source=12)
    saved_anew(store.catalogue.path(store.catalogue.ids("source")[4]))
    assert fit(store, TINY, CPU, round_number=0).promoted


def test_a_corrected_image_is_trained_on_after_its_file_is_gone(tmp_path: Path) -> None:
    store = store_with(tmp_path, source=12, pool=4)
    image_id = store.catalogue.ids("pool")[0]
    add_answers(store, 1, [image_id], mask=MASK)
    (row,) = (row for row in store.labels.current() if row.by_person)
    assert store.add_answers([row]) == 0  # recorded before copies were kept; the copy is made all the same
    grey = store.catalogue.load(image_id)
    for harm in HARMS[:2]:
        if store.catalogue.path(image_id).exists():
            harm(store.catalogue.path(image_id))
        assert image_id in {example.image_id for example in training_set(store, TINY, 1).examples}
        np.testing.assert_array_equal(Store.open(tmp_path / "store").catalogue.load(image_id), grey)
        np.testing.assert_array_equal(store.catalogue.loader([image_id])(image_id), grey)


@pytest.mark.parametrize("harm", HARMS)
def test_push_and_report_leave_out_a_proposed_image_that_is_lost(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    store = store_with(tmp_path, source=1, pool=5)
    add_model(store, 0)
    lost, *rest = store.catalogue.ids("pool")[:3]
    add_proposal(store, 1, [lost, *rest], premask=MASK)
    harm(store.catalogue.path(lost))
    server = FakeLabelStudio()
    project = project_for(store, server, CPU)
    push(store, server, project, round_number=1)
    assert sorted(task["data"]["image_id"] for task in server.list_tasks(project, 1)) == sorted(rest)
    write_report(store, tmp_path / "report.html")
    assert "Round 1" in (tmp_path / "report.html").read_text()
    assert lost in read_progress(store).skipped
    add_answers(store, 1, rest, mask=MASK)
    assert due(read_progress(store), budget=3) == "retrain"  # not waiting for an answer that nobody can give


def test_what_can_be_read_again_is_included_again(tmp_path: Path) -> None:
    store = store_with(tmp_path, pool=3)
    image_id = store.catalogue.ids("pool")[0]
    path = store.catalogue.path(image_id)
    path.rename(tmp_path / "aside")
    assert unreadable(store, store.catalogue.ids("pool")).keys() == {image_id}
    assert image_id not in choosable(store)
    assert read_progress(store).unreadable == 1
    (tmp_path / "aside").rename(path)
    assert not unreadable(store, [image_id])
    assert image_id in choosable(store)


def test_an_ingest_that_finds_the_file_elsewhere_includes_it_again(tmp_path: Path) -> None:
    store = store_with(tmp_path, pool=3)
    image_id = store.catalogue.ids("pool")[0]
    path = store.catalogue.path(image_id)
    (tmp_path / "elsewhere").mkdir()
    path.rename(tmp_path / "elsewhere/a.png")
    unreadable(store, [image_id])
    ingest_folder(store, tmp_path / "elsewhere", role="pool")
    assert image_id in choosable(store)
    assert store.exclusions.current() == {}


def test_a_server_that_is_down_says_nothing_about_its_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_with(tmp_path, pool=2)

    def down(_: Catalogue, image_id: str) -> bytes:
        raise StoreDownError("does not answer")

    monkeypatch.setattr(Catalogue, "read_bytes", down)
    with pytest.raises(StoreDownError):
        unreadable(store, store.catalogue.ids("pool"))
    assert store.exclusions.current() == {}


def test_a_person_removes_an_image_and_takes_it_back(tmp_path: Path) -> None:
    store = store_with(tmp_path, source=12, pool=4, validation=4)
    before = training_set(store, TINY, 1)
    source, pool = before.examples[0].image_id, store.catalogue.ids("pool")[0]
    validation = store.catalogue.ids("validation")[0]
    add_answers(store, 1, [pool], mask=MASK)
    for image_id in (source, pool, validation):
        remove(store, image_id)
    data = training_set(store, TINY, 1)
    used = {example.image_id for example in (*data.examples, *data.validation, *data.test)}
    assert not used & {source, pool, validation}
    assert store.catalogue.counts() == {"source": 11, "pool": 3, "validation": 3}
    assert source not in store.catalogue.matching(role="source")
    assert source not in store.catalogue.taxa("source")
    assert source not in store.catalogue.hashes("source")
    assert unreadable(store, [source]) == {}
    assert store.catalogue.row(source).role == "source"  # reports of earlier rounds still show it
    store.exclusions.record([ExclusionRow(image_id=source, kind="included", reason="it was none")])
    assert store.catalogue.counts()["source"] == 12
    assert Store.open(tmp_path / "store").exclusions.current("removed").keys() == {pool, validation}


def test_ingesting_again_does_not_undo_what_a_person_removed(tmp_path: Path) -> None:
    store = store_with(tmp_path, pool=3)
    remove(store, store.catalogue.ids("pool")[0])
    ingest_folder(store, tmp_path / "pool", role="pool")
    assert len(store.catalogue.ids("pool")) == 2


@pytest.mark.slow
def test_a_pool_of_unreadable_images_is_finished_and_not_proposed_for_ever(tmp_path: Path, weights: bytes) -> None:
    store = store_with(tmp_path, pool=4, validation=2)
    add_model(store, 0, weights=weights)
    for harm, image_id in zip(HARMS, store.catalogue.ids("pool"), strict=True):
        harm(store.catalogue.path(image_id))
    with pytest.raises(EmptyPoolError, match="4 cannot"):
        propose(store, TINY, CPU, round_number=1)
    progress = read_progress(store)
    assert due(progress, budget=3) == "finished"
    assert "4 images cannot be read" in describe(progress, budget=3)


@pytest.mark.slow
def test_a_proposed_image_lost_afterwards_is_shown_from_its_copy(tmp_path: Path, weights: bytes) -> None:
    store = store_with(tmp_path, pool=8, validation=2)
    add_model(store, 0, weights=weights)
    proposal = propose(store, TINY, CPU, round_number=1)
    deleted(store.catalogue.path(proposal.images[0].image_id))
    server = FakeLabelStudio()
    project = project_for(store, server, CPU)
    push(store, server, project, round_number=1)
    assert len(server.list_tasks(project, 1)) == 5
    assert len(propose(store, TINY, CPU, round_number=1).images) == 5
