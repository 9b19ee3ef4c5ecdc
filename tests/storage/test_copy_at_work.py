"""Backups taken in the middle of a real training and of real collects are restored elsewhere and go on."""

import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from plankseg.errors import StoreBusyError
from plankseg.storage.copy import copy_store
from plankseg.storage.maintenance import maintain
from plankseg.storage.store import Store
from plankseg.storage.verification import verify_store
from tests.support.annotation_desk import Desk, desk_of_round
from tests.support.little_store import add_model, add_proposal, noisy_image, square, store_with
from tests.support.store_at_work import at_work, collect_one_by_one, train

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def restored(folder: Path, original: Store) -> Store:
    """The backup at another place, after the original is gone, found whole."""
    shutil.rmtree(original.root)
    copy_store(folder / "backup", folder / "restored")
    store = Store.open(folder / "restored")
    assert list(verify_store(store)) == []
    return store


def test_a_backup_in_the_middle_of_a_training_is_restored_and_trains_to_the_same_model(tmp_path: Path) -> None:
    store = store_with(tmp_path, source=10, validation=4)
    labels = store.labels.current()
    gate = tmp_path / "gate"
    with at_work("train", store, gate) as process:
        with pytest.raises(StoreBusyError), store.lock("advance"):
            pass
        assert list(store.work_root.glob("train-0-*")), "a training has checkpoints"
        copy_store(store.root, tmp_path / "backup")
        in_the_middle = Store.open(tmp_path / "backup")
        assert in_the_middle.labels.current() == labels
        assert in_the_middle.models.all() == []
        copy_store(store.root, tmp_path / "early")
        gate.touch()
        while process.poll() is None:  # the last ones are taken while the model is committed
            copy_store(store.root, tmp_path / "backup")
        assert process.stdout is not None
        model = process.stdout.read().split()[-1]
    copy_store(store.root, tmp_path / "backup")
    early = Store.open(tmp_path / "early")
    assert train(early.root) == model
    late = restored(tmp_path, store)
    assert [row.model_id for row in late.models.all()] == [model]
    assert late.labels.current() == labels
    assert train(late.root) == model, "it is there already"


def test_a_backup_in_the_middle_of_collects_is_restored_and_collects_the_rest(tmp_path: Path) -> None:
    store = store_with(tmp_path, pool=8)
    add_model(store, 0)
    ids = list(store.catalogue.ids("pool"))
    add_proposal(store, 1, ids, premask=square(noisy_image(0).shape, 12))
    gate = tmp_path / "gate"
    with at_work("collect", store, gate) as process:
        copy_store(store.root, tmp_path / "early")
        gate.touch()
        while process.poll() is None:
            copy_store(store.root, tmp_path / "backup")
            backup = Store.open(tmp_path / "backup")
            assert backup.labels.current() == store.labels.current(version=backup.labels.version())
        assert process.returncode == 0
    copy_store(store.root, tmp_path / "backup")
    every = store.labels.current()
    early = Store.open(tmp_path / "early")
    answered = early.labels.answered(1)
    assert len(answered) == 2
    assert [row for row in every if row.image_id in {row.image_id for row in answered}] == answered
    collect_rest(desk_of_round(early))
    assert {row.image_id for row in early.labels.answered(1)} == set(ids)
    late = restored(tmp_path, store)
    assert late.labels.current() == every
    for row in every:
        assert late.blobs.get(str(row.mask_sha), "png") == early.blobs.get(str(row.mask_sha), "png")


def collect_rest(desk: Desk) -> None:
    """Answer what is open with the masks that the first process would have given."""
    open_ids = {task["data"]["image_id"] for task in desk.server.list_tasks(desk.project)}
    for number, image_id in enumerate(desk.ids):
        if image_id in open_ids:
            desk.answer(number, square(noisy_image(0).shape, 14 + number))
    desk.collect()


def test_weekly_backups_go_on_while_weeks_of_collects_are_maintained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plankseg.storage.maintenance.LEAST_HORIZON", timedelta(0))
    store = store_with(tmp_path, pool=6)
    add_model(store, 0)
    add_proposal(store, 1, list(store.catalogue.ids("pool")), premask=square(noisy_image(0).shape, 12))
    gate = tmp_path / "gate"
    gate.touch()
    desk = desk_of_round(store)
    for _ in range(3):
        maintain(store, horizon=timedelta(0))
        copy_store(store.root, tmp_path / "backup")
        assert Store.open(tmp_path / "backup").labels.current() == store.labels.current()
        assert list(verify_store(Store.open(tmp_path / "backup"))) == []
        collect_one_by_one(desk, gate)  # each goes over all images: later weeks change earlier answers
    copy_store(store.root, tmp_path / "backup")
    late = restored(tmp_path, store)
    assert len(late.labels.answered(1)) == 6
