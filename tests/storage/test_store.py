"""A store opens where it can, says why where it cannot, and its locks end with their process."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from pydantic import ValidationError

from plankseg.config import Settings
from plankseg.errors import StoreBusyError, StoreError
from plankseg.storage.schemas import utc_now
from plankseg.storage.store import Store
from plankseg.storage.tables.exclusions import ExclusionRow
from tests.support.store_locations import bytes_at, spoil

HOLDER = """
import os, sys, time
from plankseg.storage.store import Store
with Store.open(sys.argv[1]).lock("advance", note="run 7"):
    if sys.argv[2] == "fork" and os.fork() == 0:
        time.sleep(60)
        os._exit(0)
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_store_is_made_once_and_opened_again(root: str) -> None:
    assert not Store.exists(f"{root}/deep/store")
    made = Store.open(f"{root}/deep/store")
    assert Store.exists(f"{root}/deep/store")
    sha = made.blobs.put(b"mask", "png")
    again = Store.open(str(made.root))
    assert again.blobs.get(sha, "png") == b"mask"
    assert json.loads(bytes_at(f"{root}/deep/store/plankseg.json")) == {"layout": 1}


def test_a_store_in_a_folder_is_its_owners_alone_and_one_that_was_opened_to_others_stays_so(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        with Store.open(tmp_path / "store").lock("advance"):
            pass
        (tmp_path / "shared").mkdir(mode=0o755)
        Store.open(tmp_path / "shared")
    finally:
        os.umask(before)
    rights = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "store").rglob("*.lock")}
    assert (tmp_path / "store").stat().st_mode & 0o777 == 0o700
    assert rights == {"advance.lock": 0o600}, "who may open a lock file may hold it"
    assert (tmp_path / "shared").stat().st_mode & 0o777 == 0o755


def test_a_file_in_its_place_is_said(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("not a folder")
    for name in ("store", "store/below"):
        with pytest.raises(StoreError, match="a file is in its place"):
            Store.open(tmp_path / name)


def test_an_address_is_not_taken_for_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for address in ("gs://bucket/prefix", "http://127.0.0.1/bucket"):
        with pytest.raises(StoreError, match="an address we do not know"):
            Store.open(address)
    with pytest.raises(StoreError, match="no bucket's name"):
        Store.open("s3://Bucket/prefix")
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_folder_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # root may write everywhere, so the answer of a read-only file system is given here
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(StoreError, match="not readable and writable"):
        Store.open(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("marker", ['{"layout": 2}', "{}", "[]", "half"])
def test_a_newer_or_damaged_layout_is_left_alone(root: str, marker: str) -> None:
    spoil(f"{root}/plankseg.json", marker.encode())
    with pytest.raises(StoreError, match=r"upgrade plankseg|is damaged"):
        Store.open(root)
    assert bytes_at(f"{root}/plankseg.json") == marker.encode()


@pytest.mark.every_s3_server
def test_the_second_one_is_told_who_is_at_work(root: str) -> None:
    store = Store.open(root)
    assert store.held_since("advance") is None, "nobody ever held it"
    with store.lock("advance"):
        since = store.held_since("advance")
        assert since is not None
        assert abs((utc_now() - since).total_seconds()) < 60
        with pytest.raises(StoreBusyError, match=rf"process {os.getpid()} on .+ since \d{{4}}-"):
            with Store.open(root).lock("advance"):
                pytest.fail("two had the lock")
        with store.lock("another.name"), store.lock("another.other"):
            pass
    assert store.held_since("advance") is None
    with store.lock("advance"):
        pass


@pytest.mark.every_s3_server
def test_waiting_gets_the_lock_when_it_is_free(root: str) -> None:
    store, order = Store.open(root), []

    def wait_for_it() -> None:
        with store.lock("advance", wait_s=20):
            order.append("second")

    with store.lock("advance"):
        waiting = threading.Thread(target=wait_for_it)
        waiting.start()
        time.sleep(0.15)
        order.append("first")
    waiting.join()
    assert order == ["first", "second"]


@pytest.mark.every_s3_server
@pytest.mark.parametrize("kind", ["alone", "fork"])
def test_a_lock_dies_with_its_process_even_if_a_forked_child_lives_on(root: str, kind: str) -> None:
    command = [sys.executable, "-c", HOLDER, root, kind]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == "held\n"
        store = Store.open(root)
        with pytest.raises(StoreBusyError, match=f"process {holder.pid} on"), store.lock("advance"):
            pytest.fail("two had the lock")
        holder.kill()
        holder.wait()
        with store.lock("advance", wait_s=10) as killed:
            assert killed == "run 7"
        with store.lock("advance") as killed:
            assert killed == "", "the lock was given back"
    finally:
        os.killpg(holder.pid, signal.SIGKILL) if kind == "fork" else holder.kill()
        holder.wait()
        holder.stdout.close()


@pytest.mark.parametrize("name", ["../up", "", ".hidden", "a/b", "a\n", "x" * 101])
def test_names_that_lead_elsewhere_are_refused(root: str, name: str) -> None:
    store = Store.open(root)
    with pytest.raises(StoreError, match="is no name"):
        store.work_dir(name)
    with pytest.raises(StoreError, match="is no name"), store.lock(name):
        pytest.fail("the lock was made")


def test_a_work_folder_is_kept_between_runs(root: str) -> None:
    folder = Store.open(root).work_dir("round-3")
    (folder / "last.ckpt").write_bytes(b"half done")
    assert (Store.open(root).work_dir("round-3") / "last.ckpt").read_bytes() == b"half done"


@pytest.mark.parametrize("name", ["run[1]", "my%20store", "back\\slash", "a|b", "hat^", "new\nline", "\udcff"])
def test_a_folder_that_the_tables_cannot_use_is_refused_before_anything_is_made(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreError, match="name a folder without"):
        Store.open(tmp_path / name / "store")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a b#c?d", "ümläut", "100%", "{x}&'y'"])
def test_other_odd_folders_hold_a_store(tmp_path: Path, name: str) -> None:
    store = Store.open(tmp_path / name / "store")
    store.exclusions.record([ExclusionRow(image_id="a" * 64, kind="removed", reason="")])
    assert Store.open(tmp_path / name / "store").exclusions.current().keys() == {"a" * 64}


@pytest.mark.parametrize("name", ["", "  "])
def test_an_empty_name_makes_no_store_of_the_working_directory(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreError, match="empty name"):
        Store.open(name)
    with pytest.raises(ValidationError, match=r"empty name|at least 1 character"):
        Settings(store=name)
    assert not list(tmp_path.iterdir())
