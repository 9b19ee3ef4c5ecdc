"""Copy of a whole store, verified, that can be resumed after a kill and brought up to date later.

Objects are copied first, then the tables' data, then their logs by ascending version, the marker last, so that nothing
is there before what it refers to.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from plankseg.errors import ObjectCorruptError, StoreError
from plankseg.files import atomic_write
from plankseg.storage.journal import CURE, LOG, log_version
from plankseg.storage.maintenance import LOCK as MAINTENANCE
from plankseg.storage.objects.blobs import sha256_of
from plankseg.storage.s3.addresses import Address, check_key
from plankseg.storage.schemas import SCHEMAS
from plankseg.storage.store import MARKER, Store, root_of

NOTE = "copying.json"  # lies in an unfinished copy and names where it comes from


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

    Of each table one version is copied, the newest at the beginning, so others may work on the source meanwhile, all
    but maintenance. Objects and tables are verified on the way, and whatever is written is read back. Nobody may work
    on the target. Data files that maintenance has removed from the source are removed from the target too.

    Raises:
        StoreError: no store at the source, the same place, damage, or a target that is no copy of this source.
        ObjectCorruptError: an object of the source is damaged, or what was written reads differently.
        StoreBusyError: the source is being maintained or copied.
    """
    if not Store.exists(source):
        raise StoreError(f"There is no store at {source}; correct the address.")
    if root_of(source) == root_of(target):
        raise StoreError(f"{source} and {target} are the same place; name another target.")
    store = Store.open(source)
    with store.lock(MAINTENANCE) if store.is_writable else nullcontext():
        versions = {table: found.version for table in SCHEMAS if (found := store.tables.snapshot(table)).exists}
        here, there = files_below(store.root), files_below(root_of(target))
        copied = _copy(here, there, _Wanted.of(store, here, versions), note=str(store.root), on_progress=on_progress)
    _check_copy(Store.open(target), versions)
    return copied


@dataclass(frozen=True)
class _Wanted:
    """What belongs to a copy: names with their sizes, and the digests of those that have one."""

    sizes: Mapping[str, int]
    digests: Mapping[str, str]

    @classmethod
    def of(cls, store: Store, here: StoreFiles, versions: Mapping[str, int]) -> "_Wanted":
        """All that tables of these versions name was there when the versions were read, so it is listed now."""
        sizes = {name: size for name, size in here.sizes().items() if _is_wanted(here, name, versions)}
        journal = store.tables.journal
        return cls(sizes, {f"tables/{t}/{name}": sha for t in versions for name, sha in journal.digests(t).items()})


def _is_wanted(here: StoreFiles, name: str, versions: Mapping[str, int]) -> bool:
    if not name.startswith("tables/"):
        return True
    table, _, file = name.removeprefix("tables/").partition("/")
    if table not in versions:
        return False
    if not file.startswith(f"{LOG}/"):
        return True
    if file.endswith("_last_checkpoint"):
        return bool(json.loads(here.read(name))["version"] <= versions[table])
    return log_version(PurePosixPath(file).name) <= versions[table]


def _copy(
    here: StoreFiles,
    there: StoreFiles,
    wanted: _Wanted,
    *,
    note: str,
    on_progress: Callable[[int, int], None] | None,
) -> Copied:
    from plankseg.storage.s3.client import in_threads

    have = there.sizes()
    _require_ours(here, there, have, wanted.sizes, note)
    there.write(NOTE, note.encode())
    # Same name and size is the same file: objects are named by their hash, data files by a random number, and a version
    # of a log is never written twice; the tip of a log is read each time all the same.
    missing = [
        name for name, size in wanted.sizes.items() if have.get(name) != size or name.endswith("_last_checkpoint")
    ]
    done = 0

    def one(name: str) -> int:
        data = here.read(name)
        _check(name, data, wanted.digests.get(name))
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
    for name in have.keys() - wanted.sizes.keys():
        if _is_replaceable(name):
            there.remove(name)
    there.remove(NOTE)
    return Copied(files=len(missing), bytes=written, there=len(wanted.sizes) - len(missing))


def _check_copy(copy: Store, versions: Mapping[str, int]) -> None:
    """Open every table of a copy, and begin or go on with its own journal."""
    for table, version in versions.items():
        found = copy.tables.version(table)
        if found != version:
            raise ObjectCorruptError(f"Table {table!r} of the copy is at version {found}, not {version}; copy again.")
        copy.tables.seal(table)


def _is_replaceable(name: str) -> bool:
    """True for data files, which maintenance removes, and for the hint at the newest checkpoint."""
    is_data = name.startswith("tables/") and f"/{LOG}/" not in name
    return is_data or name.endswith(f"/{LOG}/_last_checkpoint")


def _require_ours(
    here: StoreFiles, there: StoreFiles, have: Mapping[str, int], wanted: Mapping[str, int], note: str
) -> None:
    """Raise unless the target is empty, an unfinished copy of this source, or an earlier finished one."""
    foreign = sorted(name for name in have.keys() - wanted.keys() - {NOTE} if not _is_replaceable(name))
    if foreign or (have and MARKER not in have and NOTE not in have):
        first = foreign[0] if foreign else min(have)
        raise StoreError(f"The target holds {first!r}, which the source does not; name an empty place.")
    if NOTE in have:
        begun = there.read(NOTE).decode(errors="replace")
        if begun != note:
            raise StoreError(f"The target holds an unfinished copy of {begun}; finish that, or name an empty place.")
        return
    for name in sorted(have.keys() & wanted.keys()):
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


def _check(name: str, data: bytes, digest: str | None) -> None:
    if name.startswith("objects/") and sha256_of(data) != PurePosixPath(name).name.partition(".")[0]:
        raise ObjectCorruptError(f"Object {name} of the source is damaged; restore it from a backup before copying.")
    if digest is not None and sha256_of(data) != digest:
        raise ObjectCorruptError(f"File {name} of the source is damaged; {CURE} before copying.")


def _is_stored(name: str) -> bool:
    return name.startswith(("objects/", "tables/")) or name in {MARKER, NOTE}


def files_below(root: Path | Address) -> StoreFiles:
    """The files of a store."""
    return _BucketFiles(root) if isinstance(root, Address) else _FolderFiles(root)


@dataclass(frozen=True)
class _FolderFiles:
    root: Path

    def sizes(self) -> Mapping[str, int]:
        found = {}
        for folder, _, files in os.walk(self.root, followlinks=True):  # who keeps the tables on another disk links them
            for path in (Path(folder) / file for file in files):
                name = path.relative_to(self.root).as_posix()
                if _is_stored(name) and path.is_file() and not path.name.startswith("."):
                    found[name] = path.stat().st_size
        return dict(sorted(found.items()))

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
