"""Maintenance of the tables: compaction of small files, removal of old ones that no needed version uses.

Every commit makes a file, and thousands of small files are slow to read. Compaction changes no row; the small files
stay until the horizon, so that past versions stay readable, and are then removed. Versions that models name are kept.
"""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from deltalake import DeltaTable, WriterProperties
from deltalake.exceptions import DeltaError

from plankseg.errors import StoreError
from plankseg.storage.delta_tables import fault
from plankseg.storage.s3.addresses import Address, is_s3
from plankseg.storage.schemas import SCHEMAS
from plankseg.storage.store import Store

LOCK = "maintain"
LEAST_HORIZON = timedelta(days=1)  # somebody who reads or writes now must be done before what they use may go
WHOLE_BYTES = 8 * 2**20  # a file of this size is left as it is; readers hold a few of them
ROW_GROUP_ROWS = 65_536  # read at a time
PARTIAL = re.compile(r"\..+\.\d+\.[0-9a-f]{32}\.partial")  # as `plankseg.files` names them


@dataclass(frozen=True)
class Tidied:
    """What was done to one table, or would be: files of its newest version before and after, old files that went."""

    table: str
    files_before: int
    files_after: int
    removed: tuple[str, ...]
    removed_bytes: int


@dataclass(frozen=True)
class Maintained:
    """What was done to a store: its tables, and what broken-off writes had left behind, by path."""

    tables: tuple[Tidied, ...]
    partial: tuple[str, ...]

    def gone(self) -> list[str]:
        """Every file that went, or would go."""
        removed = [f"tables/{tidied.table}/{name}" for tidied in self.tables for name in tidied.removed]
        return removed + list(self.partial)

    def rows(self) -> list[dict[str, str | int]]:
        """A row for each table, for people."""
        return [
            {
                "table": tidied.table,
                "files before": tidied.files_before,
                "files now": tidied.files_after,
                "old files removed": len(tidied.removed),
                "kB removed": round(tidied.removed_bytes / 1000),
            }
            for tidied in self.tables
        ]

    def summary(self, *, dry_run: bool) -> str:
        """One line for people."""
        before = sum(tidied.files_before for tidied in self.tables)
        after = sum(tidied.files_after for tidied in self.tables)
        kilobytes = round(sum(tidied.removed_bytes for tidied in self.tables) / 1000)
        removed = f"{len(self.gone())} old files, {kilobytes} kB"
        if dry_run:
            return f"Dry run: {removed} would go"
        return f"{before} files of the tables are {after} now; {removed} gone"


def maintain(store: Store, *, horizon: timedelta = timedelta(days=7), dry_run: bool = False) -> Maintained:
    """Put small files of the tables together, and remove what no version of the last `horizon` needs.

    Others may read and write meanwhile. Objects are never touched. A dry run changes nothing and says what would go
    now; how many files would be put together it cannot say. Run again, it finds nothing to do.

    Raises:
        StoreError: a horizon of less than a day, or the store cannot be read or written.
        StoreBusyError: another run does the same, or a copy of the store is being made.
    """
    if horizon < LEAST_HORIZON:
        raise StoreError(f"The horizon is {horizon}; give at least {LEAST_HORIZON}, so that nobody's files are taken.")
    with store.lock(LOCK):
        named = {"labels": sorted({row.data_version for row in (*store.models.all(), *store.models.candidates())})}
        tables = [
            tidied
            for table in SCHEMAS
            if (tidied := _tidy(store, table, named.get(table, []), horizon=horizon, dry_run=dry_run)) is not None
        ]
        return Maintained(tuple(tables), tuple(_remove_partial(store.root, horizon, dry_run=dry_run)))


def _tidy(store: Store, table: str, named: Sequence[int], *, horizon: timedelta, dry_run: bool) -> Tidied | None:
    delta = store.tables.delta(table)
    if delta is None:
        return None
    try:
        before = len(delta.file_uris())
        if not dry_run:
            properties = WriterProperties(compression="ZSTD", max_row_group_size=ROW_GROUP_ROWS)
            delta.optimize.compact(target_size=WHOLE_BYTES, writer_properties=properties)
            store.tables.seal(table)  # of a table of an older plankseg, too
        gone = _unneeded(delta, store.tables.uri(table), named, horizon, dry_run=True)
        if gone and not dry_run:
            _unneeded(delta, store.tables.uri(table), named, horizon, dry_run=False)
        return Tidied(table, before, len(delta.file_uris()), tuple(sorted(gone)), sum(gone.values()))
    except (DeltaError, OSError) as error:
        raise fault(f"Cannot tidy table {table!r}", error, "no row is lost; run it again") from error


def _unneeded(
    delta: DeltaTable, uri: str, named: Sequence[int], horizon: timedelta, *, dry_run: bool
) -> Mapping[str, int]:
    """Data files, name to bytes, that are still there though no version since the horizon nor a named one has them."""
    listed = delta.vacuum(
        retention_hours=int(horizon / timedelta(hours=1)),
        enforce_retention_duration=False,  # ours is enforced, whatever the table says
        dry_run=dry_run,
        full=True,  # those of commits that never came about, too
        keep_versions=[version for version in named if version <= delta.version()],
    )
    there = _data_files(uri)
    names = {path.rstrip("/").rpartition("/")[2] for path in listed}
    return {name: there[name] for name in names if name in there}


def _data_files(uri: str) -> dict[str, int]:
    """The data files that lie in a table's place, name to bytes."""
    if is_s3(uri):
        from plankseg.storage.s3.objects import listing

        found = {row.address.key.rpartition("/")[2]: row.size for row in listing(Address.parse(uri))}
        return {name: size for name, size in found.items() if name.endswith(".parquet")}
    return {path.name: path.stat().st_size for path in Path(uri).glob("*.parquet")}


def _remove_partial(root: Path | Address, horizon: timedelta, *, dry_run: bool) -> list[str]:
    """Files that a killed process of ours had half written; a bucket has none."""
    if isinstance(root, Address):
        return []
    oldest = time.time() - horizon.total_seconds()
    try:
        found = [
            path
            for path in (*root.glob(".*.partial"), *root.glob("objects/*/.*.partial"))
            if PARTIAL.fullmatch(path.name) and path.stat().st_mtime < oldest
        ]
        for path in [] if dry_run else found:
            path.unlink()
    except OSError as error:
        raise StoreError(f"Cannot tidy {root}: {error.strerror or error}; check its rights, run it again.") from error
    return sorted(str(path) for path in found)
