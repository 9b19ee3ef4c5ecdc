"""Where is the label store, is it ours to use, and who is at work on it?"""

import fcntl
import json
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from plankseg.errors import StoreBusyError, StoreError
from plankseg.storage.blobs import Blobs, FolderBlobs, write_whole
from plankseg.storage.catalogue import Catalogue
from plankseg.storage.labels import Labels
from plankseg.storage.models import Models
from plankseg.storage.promotions import Promotions
from plankseg.storage.proposals import Proposals
from plankseg.storage.schemas import utc_now
from plankseg.storage.segments import Segments
from plankseg.storage.tables import DeltaTables

LAYOUT = 1
MARKER = "plankseg.json"
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
POLL_S = 0.05

_lock_files: set[int] = set()


class Store:
    """One label store: its objects, its tables, its locks and its places for half-done work."""

    def __init__(self, root: Path, *, max_image_pixels: int = 64_000_000) -> None:
        self.root = root
        tables = DeltaTables(root)
        self.tables = tables
        self.blobs: Blobs = FolderBlobs(root)
        self.catalogue = Catalogue(tables, max_pixels=max_image_pixels)
        self.labels = Labels(tables)
        self.proposals = Proposals(tables)
        self.promotions = Promotions(tables)
        self.models = Models(tables, self.blobs, self.promotions)
        self.segments = Segments(tables, self.blobs)

    @classmethod
    def open(cls, location: str | Path, *, max_image_pixels: int = 64_000_000) -> "Store":
        """The store in a folder, made if it is missing.

        Raises StoreError for a file, an unwritable folder, an address, or the store of a newer plankseg.
        """
        if "://" in str(location):
            raise StoreError(f"The store {location} is an address; this plankseg keeps stores in folders only.")
        root = Path(location).expanduser().resolve()
        try:
            root.mkdir(parents=True, exist_ok=True)
            if not os.access(root, os.R_OK | os.W_OK | os.X_OK):
                raise PermissionError(13, "not readable and writable")
            if not (root / MARKER).exists():
                write_whole(root / MARKER, json.dumps({"layout": LAYOUT}).encode())
        except (FileExistsError, NotADirectoryError) as error:
            raise StoreError(
                f"The store {root} cannot be a folder: a file is in its place; name another one."
            ) from error
        except OSError as error:
            raise StoreError(
                f"The store {root} cannot be used: {error.strerror or error}; check its rights and the free space."
            ) from error
        _check_layout(root / MARKER)
        return cls(root, max_image_pixels=max_image_pixels)

    @contextmanager
    def lock(self, name: str, *, wait_s: float = 0.0) -> Iterator[None]:
        """Hold a named lock of this store; it ends with the block, or with the process, however that dies.

        Raises StoreBusyError, saying who holds it, when it is not free within `wait_s` seconds.
        """
        path = self._inside("locks", name, ".lock")
        deadline = time.monotonic() + wait_s
        descriptor = _open_lock(path)
        try:
            while not _try_lock(descriptor):
                if time.monotonic() >= deadline:
                    raise StoreBusyError(
                        f"{name!r} of the store {self.root} is busy: {_holder(path)}; "
                        "wait until that is done, or stop that process."
                    )
                time.sleep(POLL_S)
            _sign(descriptor)
            yield
        finally:
            if descriptor in _lock_files:  # else we are a forked child, and it is our parent's lock
                _lock_files.discard(descriptor)
                os.close(descriptor)  # ends the lock

    def work_dir(self, name: str) -> Path:
        """A folder for half-done work, such as checkpoints, made if missing; nothing in it counts as stored."""
        path = self._inside("work", name)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"Cannot make {path}: {error.strerror or error}; check rights and free space.") from error
        return path

    def _inside(self, folder: str, name: str, suffix: str = "") -> Path:
        if not NAME.fullmatch(name):
            raise StoreError(f"{name[:80]!r} is no name; use up to 100 letters, digits, '_', '-' and inner dots.")
        return self.root / folder / f"{name}{suffix}"


def _check_layout(marker: Path) -> None:
    try:
        layout = json.loads(marker.read_bytes())["layout"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{marker} is damaged ({error!r}); it should read {{'layout': {LAYOUT}}}.") from error
    if layout != LAYOUT:
        raise StoreError(f"The store {marker.parent} has layout {layout}, we know {LAYOUT}; upgrade plankseg.")


def _open_lock(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise StoreError(f"Cannot open {path}: {error.strerror or error}; check rights and free space.") from error
    _lock_files.add(descriptor)
    return descriptor


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise StoreError(f"The store's file system cannot lock ({error.strerror}); keep it on another one.") from error
    return True


def _sign(descriptor: int) -> None:
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": utc_now().isoformat(timespec="seconds")}
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(holder).encode(), 0)


def _holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_bytes())
        return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (OSError, ValueError, KeyError):
        return "another process, which has not yet signed it"


def _forget_locks_in_child() -> None:
    """A forked child must not keep its parent's locks alive: the descriptors are closed, the parent's lock stays."""
    for descriptor in _lock_files:
        os.close(descriptor)
    _lock_files.clear()


os.register_at_fork(after_in_child=_forget_locks_in_child)
