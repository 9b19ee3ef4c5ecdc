"""Who is at work on a store in a folder? Locks of the file system, which end with their process."""

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from plankseg.errors import StoreBusyError, StoreError
from plankseg.storage.schemas import utc_now

POLL_S = 0.05

_lock_files: set[int] = set()


class Locks(Protocol):
    """Named locks of one store."""

    def hold(self, name: str, *, wait_s: float = 0.0) -> AbstractContextManager[None]:
        """Hold a lock during a block; StoreBusyError, saying who holds it, when it is not free within `wait_s`."""
        ...


class FolderLocks:
    """Locks as files in a store's folder; one ends with its block, or with the process, however that dies."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @contextmanager
    def hold(self, name: str, *, wait_s: float = 0.0) -> Iterator[None]:
        """Hold a lock during a block. Raises StoreBusyError."""
        path = self.root / "locks" / f"{name}.lock"
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
