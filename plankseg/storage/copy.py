"""Copy of a whole store, verified, that can be resumed after a kill and brought up to date later.

Objects are copied first, then the tables' data, then their logs by ascending version, the marker last, so that nothing
is there before what it refers to.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from plankseg.errors import ObjectCorruptError, StoreError
from plankseg.files import atomic_write
from plankseg.storage.maintenance import LOCK as MAINTENANCE
from plankseg.storage.objects.blobs import sha256_of
from plankseg.storage.s3.addresses import Address, check_key
from plankseg.storage.store import MARKER, Store, root_of

NOTE = "copying.json"  # lies in an unfinished copy and names where it comes from
LOG = "_delta_log"


class StoreFiles(Protocol):
    """Files below a folder or objects below an address, by their names from there."""

    def sizes(self) -> Mapping[str, int]:
        """Every name with its size in bytes; locks, half-done work and partial files left out."""
        ...

    def read(self, name: str) -> bytes:
        """The bytes under a name."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Put bytes under a name, complete or not at all."""
        ...

    def remove(self, name: str) -> None:
        """Take a name away."""
        ...


@dataclass(frozen=True)
class Copied:
    """What a copy did: how many files and bytes it wrote, and how many were there already."""

    files: int
    bytes: int
    there: int


def copy_store(
    source: str | Path, target: str | Path, *, on_progress: Callable[[int, int], None] | None = None
) -> Copied:
    """Copy a store to a folder or an address; done again, it copies what is missing or has come since.

    Objects are verified against their names on the way, and whatever is written is read back. The source is locked and
    does not change; nobody may work on the target meanwhile.

    Raises:
        StoreError: no store at the source, the same place, or something at the target that is no copy of this source.
        ObjectCorruptError: an object of the source is damaged, or what was written reads differently.
        StoreBusyError: somebody is at work on the source.
    """
    if not Store.exists(source):
        raise StoreError(f"There is no store at {source}; correct the address.")
    if root_of(source) == root_of(target):
        raise StoreError(f"{source} and {target} are the same place; name another target.")
    store = Store.open(source)
    with store.lock("advance"), store.lock(MAINTENANCE):
        here, there = files_below(root_of(source)), files_below(root_of(target))
        return _copy(here, there, note=str(root_of(source)), on_progress=on_progress)


def _copy(here: StoreFiles, there: StoreFiles, *, note: str, on_progress: Callable[[int, int], None] | None) -> Copied:
    from plankseg.storage.s3.client import in_threads

    have, wanted = there.sizes(), dict(here.sizes())
    _require_ours(here, there, have, wanted, note)
    there.write(NOTE, note.encode())
    # Same name and size is the same file: objects are named by their hash, data files by a random number, and a version
    # of a log is never written twice; the tip of a log is read each time all the same.
    missing = [name for name in wanted if have.get(name) != wanted[name] or name.endswith("_last_checkpoint")]
    done = 0

    def one(name: str) -> int:
        data = here.read(name)
        _check(name, data)
        there.write(name, data)
        if sha256_of(there.read(name)) != sha256_of(data):
            raise ObjectCorruptError(f"{name} reads differently at the target than it was written; copy again.")
        return len(data)

    written = 0
    for group in _in_order(missing):
        for size in in_threads(one, group):
            done, written = done + 1, written + size
            if on_progress is not None:
                on_progress(done, len(missing))
    there.remove(NOTE)
    return Copied(files=len(missing), bytes=written, there=len(wanted) - len(missing))


def _require_ours(
    here: StoreFiles, there: StoreFiles, have: Mapping[str, int], wanted: Mapping[str, int], note: str
) -> None:
    """Raise unless the target is empty, an unfinished copy of this source, or an earlier finished one."""
    foreign = sorted(have.keys() - wanted.keys() - {NOTE})
    if foreign:
        raise StoreError(f"The target holds {foreign[0]!r}, which the source does not; name an empty place.")
    if NOTE in have:
        begun = there.read(NOTE).decode(errors="replace")
        if begun != note:
            raise StoreError(f"The target holds an unfinished copy of {begun}; finish that, or name an empty place.")
        return
    for name in sorted(have):
        if (
            name.startswith("tables/")
            and LOG in name
            and name.endswith(".json")
            and here.read(name) != there.read(name)
        ):
            raise StoreError(f"The target's {name} is another than the source's: two stores; name an empty place.")


def _in_order(names: Iterable[str]) -> Iterator[list[str]]:
    """Groups that may each be copied in any order: objects, data, then the logs version by version, the marker."""
    logs = sorted(name for name in names if f"/{LOG}/" in name)
    rest = [name for name in names if f"/{LOG}/" not in name and name != MARKER]
    yield [name for name in rest if name.startswith("objects/")]
    yield [name for name in rest if not name.startswith("objects/")]
    yield from ([name] for name in logs if not name.endswith("_last_checkpoint"))
    yield [name for name in logs if name.endswith("_last_checkpoint")]
    yield [name for name in names if name == MARKER]


def _check(name: str, data: bytes) -> None:
    if name.startswith("objects/") and sha256_of(data) != PurePosixPath(name).name.partition(".")[0]:
        raise ObjectCorruptError(f"Object {name} of the source is damaged; restore it from a backup before copying.")


def _is_stored(name: str) -> bool:
    return name.startswith(("objects/", "tables/", "journal/")) or name in {MARKER, NOTE}


def files_below(root: Path | Address) -> StoreFiles:
    """The files of a store."""
    return _BucketFiles(root) if isinstance(root, Address) else _FolderFiles(root)


@dataclass(frozen=True)
class _FolderFiles:
    root: Path

    def sizes(self) -> Mapping[str, int]:
        found = {}
        for path in sorted(self.root.rglob("*")) if self.root.is_dir() else []:
            name = path.relative_to(self.root).as_posix()
            if _is_stored(name) and path.is_file() and not path.name.startswith("."):
                found[name] = path.stat().st_size
        return found

    def read(self, name: str) -> bytes:
        try:
            return self._path(name).read_bytes()
        except OSError as error:
            raise StoreError(f"Cannot read {self._path(name)}: {error.strerror or error}; check rights.") from error

    def write(self, name: str, data: bytes) -> None:
        path = self._path(name)
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(path, data)
        except OSError as error:
            raise StoreError(f"Cannot write {path}: {error.strerror or error}; check space and rights.") from error

    def remove(self, name: str) -> None:
        self._path(name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        check_key(name)
        return self.root / name


@dataclass(frozen=True)
class _BucketFiles:
    root: Address

    def sizes(self) -> Mapping[str, int]:
        from plankseg.storage.s3.objects import listing

        below = len(self.root.key) + 1 if self.root.key else 0
        found = {row.address.key[below:]: row.size for row in listing(self.root)}
        return {name: size for name, size in found.items() if _is_stored(name)}

    def read(self, name: str) -> bytes:
        from plankseg.storage.s3.objects import read

        return read(self.root / name)

    def write(self, name: str, data: bytes) -> None:
        from plankseg.storage.s3.objects import write

        write(self.root / name, data)

    def remove(self, name: str) -> None:
        from plankseg.storage.s3.objects import remove

        remove(self.root / name)
