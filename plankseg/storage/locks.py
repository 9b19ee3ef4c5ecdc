"""Locks of a store in a folder: locks of the file system, which end with their process."""

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Protocol

from plankseg.errors import StoreBusyError, StoreError
from plankseg.storage.schemas import utc_now

POLL_S = 0.05
GLANCE_S = 0.2
"""Who only looks whether somebody holds a lock shares it for a moment; whoever wants it outwaits that."""

SIGNATURE_BYTES = 4096

_lock_files: set[int] = set()


class Locks(Protocol):
    """Named locks of one store."""

    def hold(self, name: str, *, wait_s: float = 0.0, note: str = "") -> AbstractContextManager[str]:
        """Hold a lock during a block; StoreBusyError, saying who holds it, when it is not free within `wait_s`.

        The block gets the `note` of the one who held it before and was killed with it, '' if it was given back.
        """
        ...

    def held_since(self, name: str) -> datetime | None:
        """When the present holder took a lock; None where nobody holds it. Nothing is written."""
        ...


class FolderLocks:
    """Locks as files in a store's folder; one ends with its block, or with the process, however that dies."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @contextmanager
    def hold(self, name: str, *, wait_s: float = 0.0, note: str = "") -> Iterator[str]:
        """Hold a lock during a block, which gets the note of a holder that was killed. Raises StoreBusyError."""
        path = self.root / "locks" / f"{name}.lock"
        deadline, signed = time.monotonic() + max(wait_s, GLANCE_S), False
        descriptor = _open_lock(path)
        try:
            while not _try_lock(descriptor):
                if time.monotonic() >= deadline:
                    raise StoreBusyError(
                        f"{name!r} of the store {self.root} is busy: {_holder(path)}; "
                        "wait until that is done, or stop that process."
                    )
                time.sleep(POLL_S)
            killed = _note_in(os.pread(descriptor, SIGNATURE_BYTES, 0))
            _sign(descriptor, note)
            signed = True
            yield killed
        finally:
            if descriptor in _lock_files:  # else we are a forked child, and it is our parent's lock
                _lock_files.discard(descriptor)
                if signed:
                    os.ftruncate(descriptor, 0)  # given back: who is killed leaves its signature
                os.close(descriptor)  # ends the lock

    def held_since(self, name: str) -> datetime | None:
        """When the present holder took a lock; None where nobody holds it."""
        path = self.root / "locks" / f"{name}.lock"
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except OSError:  # nobody ever held it, or it may only be asked for by its owner
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _signed_at(os.pread(descriptor, SIGNATURE_BYTES, 0))
        except OSError:  # a file system without locks
            return None
        finally:
            os.close(descriptor)
        return None


def _open_lock(path: Path) -> int:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)  # who may read it may hold it
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


def _sign(descriptor: int, note: str) -> None:
    since = utc_now().isoformat(timespec="seconds")
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": since, "note": note}
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(holder).encode(), 0)


def _note_in(signature: bytes) -> str:
    """The note of a signature that was left behind; '' where there is none, or it was cut off."""
    try:
        return str(json.loads(signature)["note"])
    except (ValueError, KeyError, TypeError):
        return ""


def _signed_at(signature: bytes) -> datetime:
    """When a lock was signed; now where its holder is just about to."""
    try:
        return datetime.fromisoformat(json.loads(signature)["since"])
    except (ValueError, KeyError, TypeError):
        return utc_now()


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
