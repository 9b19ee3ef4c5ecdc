"""Atomic file writing: a file is there complete or not at all, after a kill or a power cut too."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def user_cache() -> Path:
    """The folder for what can be made again, which may be new: PLANKSEG_WORK, else `.cache/plankseg` in the home."""
    given = os.environ.get("PLANKSEG_WORK")
    return (Path(given).expanduser() if given else Path.home() / ".cache" / "plankseg").resolve()


def atomic_write(
    path: Path, data: bytes, *, mode: int = 0o666, sole_writer: bool = False, durable: bool = True
) -> None:
    """Write a file, or replace it, as a whole. Raises OSError.

    `mode` holds before the umask, from the first byte on. `durable`: it survives a power cut. `sole_writer`: as in
    `atomic_file`.
    """
    with atomic_file(path, mode=mode, sole_writer=sole_writer, durable=durable) as partial:
        partial.write_bytes(data)


@contextmanager
def atomic_file(path: Path, *, mode: int = 0o666, sole_writer: bool = False, durable: bool = True) -> Iterator[Path]:
    """A temporary file beside `path`, empty, which takes its place at the end of the block. Raises OSError.

    After an error nothing is left of it. A killed process leaves it; `plankseg maintain` removes it from the store.
    `sole_writer` gives it a fixed name, for files that only one process at a time writes: the next one writes over
    what a killed one left, so large files never pile up.
    """
    partial = path.with_name(f".{path.name}.partial") if sole_writer else _unique(path)
    try:
        if sole_writer:
            partial.unlink(missing_ok=True)
        os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
        yield partial
        if durable:
            _sync(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    if durable:
        _sync(path.parent)


def _unique(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex}.partial")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
