"""A store that may only be read: by another user, or on a file system that is mounted read-only."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from plankseg.storage.store import Store
from plankseg.storage.verification import verify_store
from tests.support.little_store import add_answers, add_model, add_proposal, noisy_image, square, store_with

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
Run = Callable[..., "subprocess.CompletedProcess[str]"]
READ_ONLY = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && shift && exec "$@"'
COMMANDS = {
    "status": ["status"],
    "status as JSON": ["status", "--json"],
    "report": ["report", "{out}/r.html"],
    "copy": ["copy-store", "{store}", "{out}/copy"],
}
WRITING = {
    "ingest": ["ingest", "{images}", "--role", "pool"],
    "remove": ["remove", "{image_id}"],
    "promote": ["promote", "0"],
}


@pytest.fixture(params=["another user", "read-only mount"])
def run(request: pytest.FixtureRequest, folder: Path, store: Store) -> Run:
    """Run a command line that may read the store and not write to it; a skip where this process cannot arrange it."""
    if os.geteuid() != 0:
        pytest.skip("becoming another user, and mounting, need root")
    if request.param == "another user":
        prefix = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
        wanted = [*prefix, sys.executable, "-c", "import plankseg"]
    else:
        prefix = ["unshare", "--mount", "sh", "-c", READ_ONLY, "sh", str(store.root)]
        wanted = [*prefix, "true"]
    if not shutil.which(prefix[0]) or subprocess.run(wanted, capture_output=True, check=False, cwd="/").returncode:
        pytest.skip(f"this machine does not allow: {' '.join(prefix[:2])}")
    (folder / "out").mkdir(mode=0o777)
    (folder / "out").chmod(0o777)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PLANKSEG_")}
    environment |= {"PLANKSEG_STORE": str(store.root), "HOME": str(folder / "out"), "COLUMNS": "300"}

    def command(*arguments: str) -> "subprocess.CompletedProcess[str]":
        line = [*prefix, sys.executable, "-m", "plankseg.cli", *arguments]
        return subprocess.run(
            line, env=environment, cwd=folder / "out", capture_output=True, text=True, check=False, timeout=250
        )

    return command


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that other users may look into; pytest's own are closed to them."""
    path = Path(tempfile.mkdtemp(prefix="plankseg-read-only-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def store(folder: Path) -> Store:
    """A store with a model and an answered round, shared for reading."""
    store = store_with(folder, pool=4, source=2)
    add_model(store, 0)
    ids = list(store.catalogue.ids("pool"))
    add_proposal(store, 1, ids[:3], premask=square(noisy_image(0).shape, 12))
    add_answers(store, 1, ids[:2], mask=square(noisy_image(0).shape, 14))
    for path in [store.root, *store.root.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    return store


def filled(arguments: list[str], folder: Path, store: Store) -> list[str]:
    image_id = store.catalogue.ids("pool")[0]
    names = {"out": folder / "out", "store": store.root, "images": folder / "pool", "image_id": image_id}
    return [part.format_map(names) for part in arguments]


def files_of(store: Store) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in store.root.rglob("*")}


def test_a_store_that_may_only_be_read_is_looked_at_and_copied_and_never_written_to(
    run: Run, folder: Path, store: Store
) -> None:
    before = files_of(store)
    for name, arguments in COMMANDS.items():
        done = run(*filled(arguments, folder, store))
        assert done.returncode == 0, f"{name}: {done.stderr}"
        assert done.stderr == "", name
    copied = Store.open(folder / "out/copy")
    assert copied.labels.current() == store.labels.current()
    assert list(verify_store(copied)) == []
    assert "cannot be read" not in (folder / "out/r.html").read_text()
    for name, arguments in WRITING.items():
        done = run(*filled(arguments, folder, store))
        assert done.returncode == 1, f"{name}: {done.stdout}"
        (line,) = done.stderr.splitlines()
        assert "Traceback" not in line
        assert str(store.root) in line, name
        assert "check" in line, f"{name} says what to do"
    assert files_of(store) == before
