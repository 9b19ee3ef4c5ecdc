"""Objects are whole or absent, verified on reading, and never outside of the store."""

import errno
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plankseg.errors import ObjectCorruptError, ObjectMissingError, StoreError
from tests.support.racing_processes import race
from tests.support.store_locations import blobs_at, names_at, spoil
from tests.support.table_rows import sha


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.binary(max_size=2000), suffix=st.from_regex(r"[a-z0-9]{1,16}", fullmatch=True))
def test_what_was_put_comes_back(root: str, data: bytes, suffix: str) -> None:
    blobs = blobs_at(root)
    name = blobs.put(data, suffix)
    assert blobs.get(name, suffix) == data
    assert blobs.location(name, suffix) == f"{root}/objects/{name[:2]}/{name}.{suffix}"


def test_putting_twice_leaves_one_file_and_does_not_touch_it(tmp_path: Path) -> None:
    blobs = blobs_at(str(tmp_path))
    path = Path(blobs.location(blobs.put(b"mask", "png"), "png"))
    before = path.stat()
    blobs.put(b"mask", "png")
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert files(tmp_path) == [path]


def test_a_missing_object_is_said_to_be_missing(root: str) -> None:
    blobs = blobs_at(root)
    assert not blobs.has(sha("never"), "png")
    with pytest.raises(ObjectMissingError, match=sha("never")):
        blobs.get(sha("never"), "png")


@pytest.mark.every_s3_server
def test_changed_bytes_are_noticed_and_healed_by_putting_again(root: str) -> None:
    blobs = blobs_at(root)
    name = blobs.put(b"mask", "png")
    spoil(blobs.location(name, "png"), b"mosk")
    with pytest.raises(ObjectCorruptError, match="backup"):
        blobs.get(name, "png")
    blobs.put(b"mask", "png")
    assert blobs.get(name, "png") == b"mask"


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "A" * 64, "a" * 63, "a" * 64 + "\n", "/" + "a" * 63])
def test_names_that_are_no_hash_are_refused(root: str, name: str) -> None:
    with pytest.raises(StoreError, match="no object's name"):
        blobs_at(root).get(name, "png")


@pytest.mark.parametrize("suffix", ["", ".png", "../x", "png/..", "png\n", "p" * 17, "PNG"])
def test_suffixes_that_are_not_plain_are_refused(root: str, suffix: str) -> None:
    with pytest.raises(StoreError, match="no object's suffix"):
        blobs_at(root).put(b"mask", suffix)
    assert names_at(root) == []


def test_a_link_that_leads_out_of_the_store_is_refused(tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "store"
    outside.mkdir()
    (root / "objects").mkdir(parents=True)
    (root / "objects" / sha("x")[:2]).symlink_to(outside)
    with pytest.raises(StoreError, match="outside"):
        blobs_at(str(root)).put(b"x", "png")
    assert files(outside) == []


def test_a_stray_partial_file_does_no_harm(tmp_path: Path) -> None:
    blobs = blobs_at(str(tmp_path))
    path = Path(blobs.location(sha("mask"), "png"))
    path.parent.mkdir(parents=True)
    (path.parent / f".{path.name}.99.abc.partial").write_bytes(b"ma")
    assert not blobs.has(sha("mask"), "png")
    assert blobs.get(blobs.put(b"mask", "png"), "png") == b"mask"


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    blobs = blobs_at(str(tmp_path))
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match="No space left"):
            blobs.put(b"mask", "png")
    assert files(tmp_path) == []
    assert blobs.get(blobs.put(b"mask", "png"), "png") == b"mask"


def put_many(root: str) -> int:
    blobs = blobs_at(root)
    return len({blobs.put(b"x" * 5000 + bytes([i]), "png") for i in range(100)})


@pytest.mark.every_s3_server
@pytest.mark.slow
def test_many_processes_may_put_the_same_object(root: str) -> None:
    assert race(put_many, [(root,)] * 3) == [100] * 3
    assert len(names_at(root)) == 100
    blobs = blobs_at(root)
    assert all(len(blobs.get(Path(name).stem, "png")) == 5001 for name in names_at(root))
