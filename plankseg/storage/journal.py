"""Journal of the tables: for every version the digests of its files, kept apart from the tables to reveal damage.

Parquet pages and Delta logs carry no checksum, so a flipped bit changes a value silently, and a log whose last entry
was lost in a power cut reads as an older table. For each version of a table `journal/<table>/<version>.json` names the
sha256 of its log entry and of each data file that it added, and how many rows the table had. Tables of before the
journal have none; what they hold is journalled with their next version.
"""

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote

from plankseg.errors import StoreError
from plankseg.files import atomic_write
from plankseg.storage.objects.blobs import sha256_of
from plankseg.storage.s3.addresses import Address

FOLDER = "journal"
LOG = "_delta_log"
COMPLETE_EVERY = 32  # entries; so that few are read, and little is written with each commit
ENTRY = re.compile(r"(\d{20})\.json")
CURE = "restore it from a backup (docs/backup.md)"


@dataclass(frozen=True)
class Entry:
    """What a table was at one version: `files` are names below the table, logs too, with their sha256.

    A complete entry names every file; any other one those that came since the entry before.
    """

    version: int
    rows: int
    is_complete: bool
    files: Mapping[str, str]

    def to_bytes(self) -> bytes:
        """JSON with its own digest."""
        text = json.dumps(asdict(self), sort_keys=True)
        return json.dumps({"entry": json.loads(text), "sha256": sha256_of(text.encode())}).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Entry":
        """Raises ValueError for what is no whole entry."""
        try:
            whole = json.loads(data)
            if sha256_of(json.dumps(whole["entry"], sort_keys=True).encode()) != whole["sha256"]:
                raise ValueError("its digest does not fit")
            return cls(**whole["entry"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"no entry of a journal ({error!r})") from error


class Files(Protocol):
    """Files below the store's root."""

    @property
    def verifies_on_read(self) -> bool:
        """Whether files of tables are compared with their digests whenever a process first reads them."""
        ...

    def names(self, folder: str) -> list[str]:
        """Names of the files right below a folder; none where it is not there."""
        ...

    def read(self, name: str) -> bytes:
        """A file's bytes. Raises StoreError, FileNotFoundError among them."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Put a file there, complete or not at all. Raises StoreError."""
        ...

    def remove(self, name: str) -> None:
        """Take a file away; none there is as good."""
        ...

    def sync(self, name: str) -> None:
        """Make a file that others wrote survive a power cut."""
        ...

    def stamp(self, name: str) -> object:
        """What changes when a file is written anew; None where it is not there."""
        ...


class Journal:
    """The journals of a store's tables. A file whose bytes were verified is not read again until it changes."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._verified: dict[str, object] = {}
        self._entries: dict[object, Entry] = {}

    def newest(self, table: str) -> int | None:
        """The newest version that was journalled, None for a table without a journal."""
        return max(self._versions(table), default=None)

    def entries(self, table: str) -> list[Entry]:
        """The entries that count, newest first: back to the last one that is complete. Raises StoreError for damage."""
        found: list[Entry] = []
        for version in reversed(self._versions(table)):
            try:
                found.append(self._read(table, version))
            except FileNotFoundError:
                continue  # another process has just put the old ones into a complete one
            if found[-1].is_complete:
                break
        return found

    def digests(self, table: str) -> dict[str, str]:
        """Every file of a table that was journalled, with its sha256."""
        return {name: sha for entry in self.entries(table) for name, sha in entry.files.items()}

    def seal(self, table: str, version: int, rows: int, live: list[str]) -> None:
        """Journal a version, with all log entries and live files that no earlier entry has; again changes nothing."""
        before = self.entries(table)
        if before and before[0].version >= version:
            return
        known = {name: sha for entry in before for name, sha in entry.files.items()}
        logs = [f"{LOG}/{name}" for name in self._files.names(f"tables/{table}/{LOG}") if log_version(name) <= version]
        fresh = {name: self._digest(f"tables/{table}/{name}") for name in sorted({*logs, *live} - known.keys())}
        is_complete = not before or len(before) >= COMPLETE_EVERY
        files = known | fresh if is_complete else fresh
        self._files.write(_name(table, version), Entry(version, rows, is_complete, files).to_bytes())
        if is_complete:
            for old in self._versions(table):
                if old < version:
                    self._files.remove(_name(table, old))

    def verify(self, table: str, names: Iterable[str] | None = None) -> None:
        """Raise StoreError unless files are the ones that were written: those of these names, or all log entries."""
        for name, sha in self._to_verify(table, names):
            if reason := self.damage(table, name, sha):
                raise StoreError(reason)

    def verify_on_read(self, table: str, names: Iterable[str] | None = None) -> None:
        """As `verify`, in a folder. A bucket's server has checksums of its own, and reading twice would be slow."""
        if self._files.verifies_on_read:
            self.verify(table, names)

    def _to_verify(self, table: str, names: Iterable[str] | None) -> list[tuple[str, str]]:
        digests = self.digests(table)
        if names is None:
            return [(name, sha) for name, sha in sorted(digests.items()) if name.startswith(f"{LOG}/")]
        return [(name, digests[name]) for name in names if name in digests]

    def damage(self, table: str, name: str, sha: str) -> str | None:
        """What is wrong with a file of a table, None where it is the one that was written."""
        path = f"tables/{table}/{name}"
        stamp = self._files.stamp(path)
        if stamp is not None and self._verified.get(path) == stamp:
            return None
        try:
            found = sha256_of(self._files.read(path))
        except FileNotFoundError:
            return f"File {path} of the store is missing, by a power cut or an old copy?; {CURE}."
        if found != sha:
            return f"File {path} of the store is damaged: its sha256 is {found}, it was {sha}; {CURE}."
        self._verified[path] = stamp
        return None

    def check_version(self, table: str, version: int, rows: int, newest: int | None) -> None:
        """Raise StoreError where a table holds less than was journalled: `newest`, read before the table was opened."""
        if newest is None:
            return
        if version < newest:
            raise StoreError(
                f"Table {table!r} went back: it is at version {version} with {rows} rows, but version {newest} was "
                f"written ({self.location(table)}). The end of its log was lost, by a power cut or an old copy; "
                f"{CURE}. To go on with what is there and lose the rest, delete that folder."
            )
        expected = {entry.version: entry.rows for entry in self.entries(table)}.get(version)
        if expected is not None and rows != expected:
            raise StoreError(f"Table {table!r} has {rows} rows at version {version}, it had {expected}; {CURE}.")

    def location(self, table: str) -> str:
        """Where a table's journal lies below the store, for people."""
        return f"{FOLDER}/{table}"

    def _digest(self, path: str) -> str:
        self._files.sync(path)
        stamp = self._files.stamp(path)
        sha = sha256_of(self._files.read(path))
        self._verified[path] = stamp
        return sha

    def _versions(self, table: str) -> list[int]:
        names = self._files.names(f"{FOLDER}/{table}")
        return sorted(int(found[1]) for name in names if (found := ENTRY.fullmatch(name)))

    def _read(self, table: str, version: int) -> Entry:
        name = _name(table, version)
        stamp = (name, self._files.stamp(name))
        if stamp not in self._entries:
            try:
                self._entries[stamp] = Entry.from_bytes(self._files.read(name))
            except ValueError as error:
                raise StoreError(
                    f"File {name} of the store is damaged: {error}; {CURE}. The table itself may be whole: delete this "
                    "one file, then run `plankseg doctor --deep`."
                ) from error
        return self._entries[stamp]


def _name(table: str, version: int) -> str:
    return f"{FOLDER}/{table}/{version:020d}.json"


def log_version(name: str) -> int:
    """The version of a log entry or checkpoint, past all versions for other files."""
    found = re.match(r"(\d{20})\.", name)
    return int(found[1]) if found else 2**63


def data_files(uris: list[str]) -> list[str]:
    """Names below the table of data files that deltalake names by address."""
    return [unquote(uri).rpartition("/")[2] for uri in uris]


@dataclass(frozen=True)
class FolderFiles:
    """Files of a store in a folder."""

    root: Path
    verifies_on_read: bool = True

    def names(self, folder: str) -> list[str]:
        """Names of the files right below a folder."""
        try:
            return [entry.name for entry in os.scandir(self.root / folder) if entry.is_file()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StoreError(f"Cannot list {self.root / folder}: {error.strerror}; check its rights.") from error

    def read(self, name: str) -> bytes:
        """A file's bytes."""
        try:
            return (self.root / name).read_bytes()
        except FileNotFoundError:
            raise
        except OSError as error:
            raise StoreError(f"Cannot read {self.root / name}: {error.strerror}; check its rights.") from error

    def write(self, name: str, data: bytes) -> None:
        """Put a file there."""
        path = self.root / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(path, data)
        except OSError as error:
            raise StoreError(f"Cannot write {path}: {error.strerror}; check space and rights.") from error

    def remove(self, name: str) -> None:
        """Take a file away."""
        (self.root / name).unlink(missing_ok=True)

    def sync(self, name: str) -> None:
        """Make a file that others wrote survive a power cut, with its folder's entry."""
        for path in (self.root / name, (self.root / name).parent):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def stamp(self, name: str) -> object:
        """Size, time and number of the file."""
        try:
            found = os.stat(self.root / name)  # noqa: PTH116
        except OSError:
            return None
        return (found.st_size, found.st_mtime_ns, found.st_ino)


@dataclass(frozen=True)
class BucketFiles:
    """Objects of a store in a bucket; each is verified once in a process."""

    root: Address
    verifies_on_read: bool = False

    def names(self, folder: str) -> list[str]:
        """Names of the objects right below a folder."""
        from plankseg.storage.s3.objects import listing  # loads boto3

        return [row.address.key.rpartition("/")[2] for row in listing(self.root / folder)]

    def read(self, name: str) -> bytes:
        """An object's bytes."""
        from plankseg.storage.s3.objects import read

        return read(self.root / name)

    def write(self, name: str, data: bytes) -> None:
        """Put an object there."""
        from plankseg.storage.s3.objects import write

        write(self.root / name, data)

    def remove(self, name: str) -> None:
        """Take an object away."""
        from plankseg.storage.s3.objects import remove

        remove(self.root / name)

    def sync(self, name: str) -> None:
        """Nothing to do: an object that a server has acknowledged is safe."""

    def stamp(self, name: str) -> object:
        """The name: an object of a table is never written twice."""
        return name
