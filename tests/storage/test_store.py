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

from plankseg.errors import StoreBusyError, StoreError
from plankseg.storage.store import Store

HOLDER = """
import os, sys, time
from plankseg.storage.store import Store
with Store.open(sys.argv[1]).lock("advance"):
    if sys.argv[2] == "fork" and os.fork() == 0:
        time.sleep(60)
        os._exit(0)
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_store_is_made_once_and_opened_again(tmp_path: Path) -> None:
    made = Store.open(tmp_path / "deep" / "store")
    marker = (made.root / "plankseg.json").stat()
    sha = made.blobs.put(b"mask", "png")
    again = Store.open(str(made.root))
    assert again.blobs.get(sha, "png") == b"mask"
    assert (made.root / "plankseg.json").stat().st_mtime_ns == marker.st_mtime_ns
    assert json.loads((made.root / "plankseg.json").read_text()) == {"layout": 1}


def test_a_file_in_its_place_is_said(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("not a folder")
    for place in ("store", "store/below"):
        with pytest.raises(StoreError, match="a file is in its place"):
            Store.open(tmp_path / place)


def test_an_address_is_not_taken_for_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreError, match="folders only"):
        Store.open("s3://bucket/prefix")
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_folder_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # root may write everywhere, so the answer of a read-only file system is given here
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(StoreError, match="not readable and writable"):
        Store.open(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("marker", ['{"layout": 2}', "{}", "[]", "half"])
def test_a_newer_or_damaged_layout_is_left_alone(tmp_path: Path, marker: str) -> None:
    (tmp_path / "plankseg.json").write_text(marker)
    with pytest.raises(StoreError, match=r"upgrade plankseg|is damaged"):
        Store.open(tmp_path)
    assert (tmp_path / "plankseg.json").read_text() == marker


def test_the_second_one_is_told_who_is_at_work(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    with store.lock("advance"):
        with pytest.raises(StoreBusyError, match=rf"process {os.getpid()} on .+ since \d{{4}}-"):
            with Store.open(tmp_path).lock("advance"):
                pytest.fail("two had the lock")
        with store.lock("another.name"), store.lock("another.other"):
            pass
    with store.lock("advance"):
        pass


def test_waiting_gets_the_lock_when_it_is_free(tmp_path: Path) -> None:
    store, order = Store.open(tmp_path), []

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


@pytest.mark.parametrize("kind", ["alone", "fork"])
def test_a_lock_dies_with_its_process_even_if_a_forked_child_lives_on(tmp_path: Path, kind: str) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path), kind]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == "held\n"
        store = Store.open(tmp_path)
        with pytest.raises(StoreBusyError, match=f"process {holder.pid} on"), store.lock("advance"):
            pytest.fail("two had the lock")
        holder.kill()
        holder.wait()
        with store.lock("advance", wait_s=5):
            pass
    finally:
        os.killpg(holder.pid, signal.SIGKILL) if kind == "fork" else holder.kill()
        holder.wait()
        holder.stdout.close()


@pytest.mark.parametrize("name", ["../up", "", ".hidden", "a/b", "a\n", "x" * 101])
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    store = Store.open(tmp_path)
    with pytest.raises(StoreError, match="is no name"):
        store.work_dir(name)
    with pytest.raises(StoreError, match="is no name"), store.lock(name):
        pytest.fail("the lock was made")


def test_a_work_folder_is_kept_between_runs(tmp_path: Path) -> None:
    folder = Store.open(tmp_path).work_dir("round-3")
    (folder / "last.ckpt").write_bytes(b"half done")
    assert (Store.open(tmp_path).work_dir("round-3") / "last.ckpt").read_bytes() == b"half done"
