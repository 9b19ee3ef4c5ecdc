"""A copied store reads like its original, whatever was killed on the way, and never mixes with another."""

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from plankseg.errors import ObjectCorruptError, StoreBusyError, StoreError
from plankseg.storage import copy
from plankseg.storage.copy import Copied, copy_store
from plankseg.storage.maintenance import maintain
from plankseg.storage.store import Store
from plankseg.storage.verification import verify_store
from tests.support.s3_servers import named_by_environment
from tests.support.store_locations import names_at, spoil, take_away
from tests.support.table_rows import answer, model, proposed

WAYS = [
    "folder to folder",
    *(pytest.param((way, server), marks=pytest.mark.slow) for way in ("up", "down") for server in ("moto", "radosgw")),
]


@pytest.fixture(params=WAYS, ids=str)
def places(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[str, str]]:
    """Where the store lies and where it goes."""
    if request.param == "folder to folder":
        yield str(tmp_path / "from"), str(tmp_path / "to")
        return
    way, kind = request.param
    for server in named_by_environment(request.getfixturevalue(f"{kind}_server"), monkeypatch):
        pair = (str(tmp_path / "local"), f"s3://{server.new_bucket()}/deep/store")
        yield pair if way == "up" else pair[::-1]


def fill(root: str) -> Store:
    store = Store.open(root)
    weights = store.models.put_weights(b"weights" * 100)
    store.models.commit(model(weights))
    for i in range(3):
        store.labels.add([answer(i, i, mask_sha=store.blobs.put(f"mask {i}".encode(), "png"))])
    store.proposals.commit(1, [proposed("a")])
    return store


def assert_alike(source: Store, target: Store) -> None:
    assert target.labels.current() == source.labels.current()
    assert target.labels.current(version=2) == source.labels.current(version=2)
    assert target.proposals.of_round(1) == source.proposals.of_round(1)
    for row in target.labels.current():
        assert target.blobs.get(str(row.mask_sha), "png") == source.blobs.get(str(row.mask_sha), "png")
    assert target.models.weights(target.models.all()[0].model_id) == b"weights" * 100


def damages(root: str) -> list[str]:
    """What is damaged at a place; the manifest that `fill` names was never put there."""
    return [damage.file for damage in verify_store(Store.open(root)) if not damage.file.endswith(".json")]


def stored(root: str) -> int:
    # A copy makes a journal of its own.
    return sum("locks/" not in name and "journal/" not in name for name in names_at(root))


def test_a_copy_reads_like_its_original_and_goes_on_by_itself(places: tuple[str, str]) -> None:
    source, target = places
    original = fill(source)
    done = copy_store(source, target)
    assert (done.files, done.there) == (stored(source), 0)
    assert_alike(original, Store.open(target))
    assert not Store.open(target).proposals.commit(1, [proposed("b")])
    assert copy_store(source, target).files <= 1
    original.labels.add([answer("new", 9, mask_sha=original.blobs.put(b"new", "png"))])
    assert 0 < copy_store(source, target).files <= 4
    assert_alike(original, Store.open(target))


def test_a_killed_copy_shows_nothing_half_and_is_finished_by_the_next(
    places: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = places
    original = fill(source)
    total = stored(source)

    def die_after(count: int) -> Callable[[int, int], None]:
        def progress(done: int, of: int) -> None:
            if done == count:
                raise KeyboardInterrupt

        return progress

    for count in (1, 3, 4):
        with pytest.raises(KeyboardInterrupt):
            copy_store(source, target, on_progress=die_after(count))
        assert not Store.exists(target)  # its marker comes last
    done = copy_store(source, target)
    assert done.there >= 3
    assert done.there + done.files == total
    assert_alike(original, Store.open(target))


def test_a_foreign_target_is_left_alone(places: tuple[str, str], tmp_path: Path) -> None:
    source, target = places
    fill(source)
    other = Store.open(target)
    other.labels.add([answer("other", 1)])
    before = names_at(target)
    with pytest.raises(StoreError, match="name an empty place"):
        copy_store(source, target)
    assert names_at(target) == before
    fill(str(tmp_path / "third"))
    with pytest.raises(StoreError, match="name an empty place"):
        copy_store(tmp_path / "third", target)


def test_an_unfinished_copy_of_another_store_is_left_alone(tmp_path: Path) -> None:
    fill(str(tmp_path / "one"))
    spoil_folder = tmp_path / "to"
    spoil_folder.mkdir()
    (spoil_folder / copy.NOTE).write_text("/elsewhere/store")
    with pytest.raises(StoreError, match="unfinished copy of /elsewhere/store"):
        copy_store(tmp_path / "one", spoil_folder)


def test_damage_is_found_before_it_spreads(places: tuple[str, str]) -> None:
    source, target = places
    store = fill(source)
    sha = str(store.labels.current()[0].mask_sha)
    spoil(store.blobs.location(sha, "png"), b"mosk 0")
    with pytest.raises(ObjectCorruptError, match="restore it from a backup"):
        copy_store(source, target)
    assert not Store.exists(target)
    store.blobs.put(b"mask 0", "png")
    for sha_of in range(1, 3):
        store.blobs.put(f"mask {sha_of}".encode(), "png")
    copy_store(source, target)
    assert_alike(store, Store.open(target))


def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no store at"):
        copy_store(tmp_path / "none", tmp_path / "to")
    store = fill(str(tmp_path / "one"))
    with pytest.raises(StoreError, match="the same place"):
        copy_store(tmp_path / "one", tmp_path / "x" / ".." / "one")
    with store.lock("maintain"), pytest.raises(StoreBusyError):
        copy_store(tmp_path / "one", tmp_path / "to")
    assert isinstance(copy_store(tmp_path / "one", tmp_path / "to"), Copied)
    take_away(str(tmp_path / "to" / "plankseg.json"))


def test_a_weekly_copy_goes_on_after_maintenance_and_follows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = str(tmp_path / "from"), str(tmp_path / "to")
    original = fill(source)
    copy_store(source, target)
    monkeypatch.setattr("plankseg.storage.maintenance.LEAST_HORIZON", timedelta(0))
    for week in range(3):
        maintain(original, horizon=timedelta(0))
        original.labels.add([answer(f"week {week}", 20 + week, mask_sha=original.blobs.put(b"w", "png"))])
        copy_store(source, target)
        assert Store.open(target).labels.current() == original.labels.current()
        assert damages(target) == []
    data = [name for name in names_at(target) if name.endswith(".parquet")]
    assert sorted(data) == sorted(name for name in names_at(source) if name.endswith(".parquet"))


def test_a_backup_while_answers_come_in_is_restored_elsewhere_and_goes_on(tmp_path: Path) -> None:
    """The restore drill of docs/backup.md."""
    source = fill(str(tmp_path / "from"))
    done = threading.Event()

    def person() -> None:
        for number in range(40):
            source.labels.add([answer(f"during {number}", 100 + number, mask_sha=source.blobs.put(b"d", "png"))])
        done.set()

    working = threading.Thread(target=person)
    with source.lock("advance"):  # a flow is at work
        working.start()
        while not done.is_set():
            copy_store(tmp_path / "from", tmp_path / "backup")
            backup = Store.open(tmp_path / "backup")
            labels = backup.labels.current()
            assert len(labels) >= 3
            assert labels == source.labels.current(version=backup.labels.version())
        working.join()
    copy_store(tmp_path / "from", tmp_path / "backup")
    shutil.rmtree(tmp_path / "from")
    copy_store(tmp_path / "backup", tmp_path / "restored")
    restored = Store.open(tmp_path / "restored")
    assert len(restored.labels.current()) == 43
    assert damages(str(tmp_path / "restored")) == []
    assert restored.labels.add([answer("after", 200, mask_sha=restored.blobs.put(b"a", "png"))]) == 1


def test_tables_on_another_disk_are_copied_through_their_link(tmp_path: Path) -> None:
    source = fill(str(tmp_path / "from"))
    (tmp_path / "from/tables").rename(tmp_path / "other disk")
    (tmp_path / "from/tables").symlink_to(tmp_path / "other disk")
    copy_store(tmp_path / "from", tmp_path / "to")
    assert_alike(source, Store.open(tmp_path / "to"))


def test_a_damaged_table_is_not_copied(tmp_path: Path) -> None:
    source = fill(str(tmp_path / "from"))
    data = tmp_path / "from/tables/labels" / source.tables.snapshot("labels").files()[0]
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 1
    data.write_bytes(content)
    with pytest.raises((StoreError, ObjectCorruptError), match=f"{data.name}.*damaged.*restore"):
        copy_store(tmp_path / "from", tmp_path / "to")
    assert not Store.exists(tmp_path / "to")


def test_a_store_that_may_only_be_read_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(str(tmp_path / "from"))
    shutil.rmtree(tmp_path / "from/locks", ignore_errors=True)
    allowed = os.access

    def read_only(path: os.PathLike[str], mode: int) -> bool:
        return allowed(path, mode) and not (Path(path) == tmp_path / "from" and mode & os.W_OK)

    monkeypatch.setattr(os, "access", read_only)
    store = Store.open(tmp_path / "from")
    assert not store.is_writable
    copy_store(tmp_path / "from", tmp_path / "to")
    assert_alike(store, Store.open(tmp_path / "to"))
    assert not (tmp_path / "from/locks").exists()
