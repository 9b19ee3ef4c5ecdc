"""Tidying a store loses no row, no object and no version that a model names, whoever writes meanwhile."""

import os
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from plankseg.errors import StoreBusyError, StoreError
from plankseg.storage import maintenance
from plankseg.storage.copy import copy_store
from plankseg.storage.delta_tables import Commit
from plankseg.storage.maintenance import Maintained, maintain
from plankseg.storage.schemas import as_mappings
from plankseg.storage.store import Store
from tests.support.store_locations import names_at
from tests.support.table_rows import answer, image, model, proposed, sha

AT_ONCE = timedelta(0)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a test need not be a day old."""
    monkeypatch.setattr(maintenance, "LEAST_HORIZON", AT_ONCE)


@pytest.fixture
def store(root: str) -> Store:
    """Five commits of answers, a model that was trained after the second, images and a proposal."""
    store = Store.open(root)
    for number in range(5):
        mask = store.blobs.put(f"mask {number}".encode(), "png")
        store.labels.add([answer(number, number, mask_sha=mask)])
        store.catalogue.add([image(number)])
        if number == 1:
            store.models.commit(model(store.models.put_weights(b"weights"), data_version=store.labels.version()))
    store.proposals.commit(1, [proposed("a")])
    return store


def seen(store: Store) -> tuple[object, ...]:
    """Everything that a reader gets."""
    labels = store.labels.current()
    blobs = [store.blobs.get(str(row.mask_sha), "png") for row in labels]
    return labels, blobs, store.catalogue.roles(), store.proposals.of_round(1), store.models.all()


def data_files(store: Store, table: str) -> int:
    return sum(name.endswith(".parquet") and f"tables/{table}/part" in name for name in names_at(str(store.root)))


def of(done: Maintained, table: str) -> maintenance.Tidied:
    return next(tidied for tidied in done.tables if tidied.table == table)


def test_small_files_are_put_together_and_everything_reads_the_same(store: Store) -> None:
    before, past = seen(store), [store.labels.current(version=version) for version in range(6)]
    done = maintain(store)
    assert (of(done, "labels").files_before, of(done, "labels").files_after) == (5, 1)
    assert not any(tidied.removed for tidied in done.tables)  # nothing is a week old
    assert seen(store) == seen(Store.open(str(store.root))) == before
    assert [store.labels.current(version=version) for version in range(6)] == past
    assert not store.proposals.commit(1, [proposed("b")])  # what was committed once stays so
    assert store.labels.add([answer("new", 9)]) == 1
    assert {tidied.table for tidied in done.tables} == {"images", "labels", "proposals", "models"}


@pytest.mark.usefixtures("at_once")
def test_old_files_go_but_for_the_versions_that_models_name(store: Store) -> None:
    named = store.models.all()[0].data_version
    before, past = seen(store), store.labels.current(version=named)
    objects = [name for name in names_at(str(store.root)) if "objects/" in name]
    done = maintain(store, horizon=AT_ONCE)
    assert len(of(done, "images").removed) == 5
    assert of(done, "images").removed_bytes > 5000
    assert data_files(store, "images") == 1
    assert data_files(store, "labels") == 1 + 2  # the model's two, and the one that all were put into
    assert seen(Store.open(str(store.root))) == before
    assert store.labels.current(version=named) == past
    assert [name for name in names_at(str(store.root)) if "objects/" in name] == objects
    with pytest.raises(StoreError):
        store.labels.current(version=named + 2)
    versions = {table: store.tables.version(table) for table in ("images", "labels")}
    again = maintain(store, horizon=AT_ONCE)
    assert not any(tidied.removed for tidied in again.tables)
    assert {table: store.tables.version(table) for table in versions} == versions


@pytest.mark.usefixtures("at_once")
def test_a_dry_run_names_what_would_go_and_changes_nothing(store: Store) -> None:
    maintain(store)
    before = [name for name in names_at(str(store.root)) if "locks/" not in name]
    planned = maintain(store, horizon=AT_ONCE, dry_run=True)
    assert [name for name in names_at(str(store.root)) if "locks/" not in name] == before
    done = maintain(store, horizon=AT_ONCE)
    assert [tidied.removed for tidied in done.tables] == [tidied.removed for tidied in planned.tables]
    assert of(planned, "images").removed


@pytest.mark.usefixtures("at_once")
def test_half_written_files_of_killed_processes_go_when_they_are_old(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    kept = Path(store.blobs.location(store.blobs.put(b"mask", "png"), "png"))
    old, young, foreign = (
        kept.with_name(name)
        for name in (f".{kept.name}.7.{'a' * 32}.partial", f".{kept.name}.8.{'b' * 32}.partial", ".theirs.partial")
    )
    for path in (old, young, foreign):
        path.write_bytes(b"ma")
    for path in (kept, old, foreign):
        os.utime(path, (1, 1))
    assert maintain(store, dry_run=True).partial == (str(old),)
    assert maintain(store).partial == (str(old),)
    assert [path.exists() for path in (kept, old, young, foreign)] == [True, False, True, True]


def test_less_than_a_day_is_refused(store: Store) -> None:
    with pytest.raises(StoreError, match="at least 1 day"):
        maintain(store, horizon=timedelta(hours=23))


def test_it_is_done_once_at_a_time_and_never_during_a_copy(store: Store, tmp_path: Path) -> None:
    with store.lock(maintenance.LOCK):
        with pytest.raises(StoreBusyError):
            maintain(store)
        with pytest.raises(StoreBusyError):
            copy_store(str(store.root), tmp_path / "copy")
    maintain(store)
    copy_store(str(store.root), tmp_path / "copy")
    assert seen(Store.open(tmp_path / "copy")) == seen(store)


@pytest.mark.usefixtures("at_once")
def test_writers_and_readers_go_on_meanwhile(store: Store) -> None:
    """Rows of many commits all arrive, each once, while everything is tidied again and again."""
    over, failed = threading.Event(), list[BaseException]()

    def run(work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001  (shown below)
            failed.append(error)

    def write(writer: int) -> None:
        theirs = Store.open(str(store.root))
        for number in range(8):
            theirs.labels.add([answer(f"{writer}-{number}", 100 * writer + number)])

    def read() -> None:
        while not over.is_set():
            assert len(store.labels.current()) >= 5
            time.sleep(0.01)

    writers = [threading.Thread(target=run, args=(lambda writer=writer: write(writer),)) for writer in (1, 2)]
    reader = threading.Thread(target=run, args=(read,))
    for thread in (*writers, reader):
        thread.start()
    while any(writer.is_alive() for writer in writers):
        maintain(store, horizon=timedelta(hours=1))  # a horizon of nothing would take what the reader has just opened
    over.set()
    reader.join()
    assert failed == []
    maintain(store, horizon=AT_ONCE)
    assert len(store.labels.current()) == 5 + 16
    assert len({row.ls_annotation for row in store.labels.current()}) == 5 + 16


def test_a_commit_that_was_planned_before_is_made_after(store: Store) -> None:
    """A writer that had looked at the table before it was tidied: its rows arrive, and no more than once."""
    tidied = []

    def plan(snapshot: object) -> Commit:
        if not tidied:
            tidied.append(maintain(Store.open(str(store.root))))
        return Commit(rows=rows, serial="ingest")

    rows = as_mappings([image("late")])
    assert store.tables.commit("images", plan) == 1  # type: ignore[arg-type]
    assert len(store.catalogue.ids("pool")) == 6
    assert sha("late") in store.catalogue.ids("pool")
