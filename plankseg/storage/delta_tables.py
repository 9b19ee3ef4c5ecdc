"""Append-only Delta tables: idempotent commits, optimistic concurrency, time travel."""

import logging
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pa_fs
from deltalake import CommitProperties, DeltaTable, Transaction, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from plankseg.errors import StoreError
from plankseg.storage.journal import CURE, BucketFiles, FolderFiles, Journal, data_files
from plankseg.storage.s3.addresses import Address, is_s3
from plankseg.storage.schemas import schema_of, to_table

log = logging.getLogger(__name__)

ATTEMPTS = 40
LONGEST_WAIT_S = 0.5
BATCH_ROWS = 32_768  # of a table that is read in pieces
FILES_AHEAD = 2  # that are decoded while the reader works on one
# Models name the version of `labels` they were trained on, so no version may ever be tidied away.
CONFIGURATION = {"delta.enableExpiredLogCleanup": "false"}

_runtime_pid: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """What one commit adds.

    `transactions` are recorded once each, for ever. `serial`, if given, is a name under which commits exclude each
    other: of two that were planned on the same version one is planned anew, so a plan may rely on what it has read.
    """

    rows: Sequence[Mapping[str, object]]
    transactions: tuple[str, ...] = ()
    serial: str | None = None


class Snapshot:
    """One version of a table, as one writer or reader sees it."""

    def __init__(self, table: str, delta: DeltaTable | None, journal: Journal) -> None:
        self.schema: pa.Schema = schema_of(table)
        self.table = table
        self._delta = delta
        self._journal = journal

    @property
    def version(self) -> int:
        """The Delta version; 0 for a table that is not there yet, which is what it is made with."""
        return 0 if self._delta is None else int(self._asked(self._delta.version))

    @property
    def exists(self) -> bool:
        """True once the table was made."""
        return self._delta is not None

    @property
    def rows(self) -> int:
        """How many rows there are, by the files' own statistics; where some file has none, fewer than there are."""
        delta = self._delta
        return 0 if delta is None else int(self._asked(delta.count))

    def files(self) -> list[str]:
        """Names of the data files of this version, below the table."""
        return [] if self._delta is None else data_files(self._asked(self._delta.file_uris))

    def transaction(self, name: str) -> int | None:
        """The version an application transaction was last recorded with, None if never."""
        delta = self._delta
        version = None if delta is None else self._asked(lambda: delta.transaction_version(name))
        return None if version is None else int(version)

    def _asked(self, question: Callable[[], Any]) -> Any:
        try:
            return question()  # may read the log, and so meet a server that refuses
        except (DeltaError, OSError) as error:
            raise fault(f"Cannot read table {self.table!r}", error, "check the store's tables folder") from error

    def read(self, columns: Sequence[str] | None = None, where: pc.Expression | None = None) -> pa.Table:
        """The rows, with the columns and the filter pushed down to the files."""
        wanted = self._wanted(columns)
        if self._delta is None:
            return wanted.empty_table()
        try:
            return self._dataset(self._delta).to_table(columns=wanted.names, filter=where).cast(wanted)
        except (DeltaError, OSError, pa.ArrowException) as error:
            raise self._unreadable(error) from error

    def batches(self, columns: Sequence[str], where: pc.Expression | None = None) -> Iterator[pa.RecordBatch]:
        """The rows in pieces, for who keeps little of them: only a few pieces are in memory at any time."""
        wanted = self._wanted(columns)
        if self._delta is None:
            return
        try:
            yield from self._dataset(self._delta).to_batches(
                columns=wanted.names,
                filter=where,
                batch_size=BATCH_ROWS,
                batch_readahead=1,
                fragment_readahead=FILES_AHEAD,
            )
        except (DeltaError, OSError, pa.ArrowException) as error:
            raise self._unreadable(error) from error
        finally:
            pa.default_memory_pool().release_unused()  # else the pieces' memory stays ours

    def _wanted(self, columns: Sequence[str] | None) -> pa.Schema:
        names = list(self.schema.names if columns is None else columns)
        unknown = sorted(set(names) - set(self.schema.names))
        if unknown:
            raise StoreError(f"Table {self.table!r} has no columns {unknown}; it has {self.schema.names}.")
        return pa.schema([self.schema.field(name) for name in names])

    def _dataset(self, delta: DeltaTable) -> Any:
        self._journal.verify_on_read(self.table, data_files(delta.file_uris()))
        # With today's columns: one that came after this version was written reads as nulls, in filters too.
        return delta.to_pyarrow_dataset(schema=self.schema, filesystem=_files_of(delta.table_uri))

    def _unreadable(self, error: Exception) -> StoreError:
        return fault(f"Cannot read table {self.table!r}", error, "check the store's tables folder")


class DeltaTables:
    """The tables of one store: Delta Lake, append-only, readable by pandas, DuckDB, Spark and Dask.

    `root` is a folder or an address; what `storage_options` gives at each opening goes to deltalake as it is.
    """

    def __init__(self, root: str | Path, *, storage_options: Callable[[], dict[str, str]] | None = None) -> None:
        self.root = str(root).rstrip("/")
        self.journal = Journal(BucketFiles(Address.parse(self.root)) if is_s3(self.root) else FolderFiles(Path(root)))
        self._storage_options = storage_options

    def append(self, table: str, rows: Sequence[Mapping[str, object]], transactions: Sequence[str]) -> bool:
        """Add the rows in one commit; False and nothing done when all the transactions are already there.

        Raises StoreError when some are there and some not (it cannot be told which rows are new), when a row does
        not fit, or when the table cannot be written.
        """
        names = tuple(dict.fromkeys(transactions))
        if not rows or not names:
            raise StoreError(f"Nothing to append to {table!r}: {len(rows)} rows, {len(names)} transactions; give both.")

        def plan(snapshot: Snapshot) -> Commit | None:
            recorded = [name for name in names if snapshot.transaction(name) is not None]
            if not recorded:
                return Commit(rows=rows, transactions=names)
            if len(recorded) < len(names):
                raise StoreError(
                    f"{len(recorded)} of {len(names)} transactions are already in {table!r}, {recorded[0]!r} for one; "
                    "append only what is new."
                )
            return None

        return self.commit(table, plan) > 0

    def commit(self, table: str, plan: Callable[[Snapshot], Commit | None]) -> int:
        """Plan on the newest version and commit; plan anew whenever another writer was first. The rows added.

        Raises StoreError when the table cannot be written; then nothing of the commit is visible.
        """
        for attempt in range(ATTEMPTS):
            snapshot = self._newest_or_made(table)
            planned = plan(snapshot)
            if planned is None or not planned.rows:
                return 0
            try:
                self._write(snapshot, planned)
            except CommitFailedError as error:
                if attempt == ATTEMPTS - 1:
                    raise StoreError(
                        f"Table {table!r}: another writer was first {ATTEMPTS} times ({error}); run it again."
                    ) from error
                time.sleep(random.uniform(0, min(LONGEST_WAIT_S, 0.01 * 2**attempt)))
            else:
                self.seal(table)
                return len(planned.rows)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def read(
        self,
        table: str,
        *,
        columns: Sequence[str] | None = None,
        where: pc.Expression | None = None,
        version: int | None = None,
    ) -> pa.Table:
        """The rows of the newest or of a past version; no rows, but all columns, for a table that is not there yet."""
        return self.snapshot(table, version=version).read(columns, where)

    def version(self, table: str) -> int:
        """The newest version; 0 while nothing has been written."""
        return self.snapshot(table).version

    def snapshot(self, table: str, *, version: int | None = None) -> Snapshot:
        """The table at one version. Raises StoreError for a version that never was."""
        newest = self._snapshot(table, self._open(table))
        if version is None or version == newest.version:
            return newest
        if not 0 <= version < newest.version:
            raise StoreError(f"Table {table!r} has no version {version}; it has 0 to {newest.version}.")
        return self._snapshot(table, self._open(table, version))

    def _snapshot(self, table: str, delta: DeltaTable | None) -> Snapshot:
        return Snapshot(table, delta, self.journal)

    def seal(self, table: str) -> None:
        """Journal the newest version of a table, so that damage to it is noticed from then on.

        Where that fails the table is written all the same; its next commit makes up for it.
        """
        try:
            delta = self._open(table)
            if delta is not None:
                self.journal.seal(table, int(delta.version()), int(delta.count()), data_files(delta.file_uris()))
        except OSError as error:  # StoreError is one
            log.warning("Table %r is written, but not its journal: %s", table, error)

    def delta(self, table: str) -> DeltaTable | None:
        """The newest version as deltalake has it, None for a table that is not there yet. Raises StoreError."""
        schema_of(table)
        return self._open(table)

    def uri(self, table: str) -> str:
        """Where the table lies, for pandas, DuckDB and the like."""
        schema_of(table)
        return f"{self.root}/tables/{table}"

    def _options(self) -> dict[str, str] | None:
        return None if self._storage_options is None else self._storage_options()

    def _open(self, table: str, version: int | None = None) -> DeltaTable | None:
        _refuse_after_fork()
        uri = self.uri(table)
        newest = self.journal.newest(table)  # before the table, to which others may add meanwhile
        self.journal.verify_on_read(table)
        for may_be_in_the_making in (True, True, False):
            try:
                delta = DeltaTable(uri, version=version, storage_options=self._options())
                if version is None:
                    self.journal.check_version(table, int(delta.version()), int(delta.count()), newest)
                return delta
            except TableNotFoundError as error:
                if not _log_is_there(uri):
                    if newest is None:
                        return None
                    raise StoreError(
                        f"Table {uri} is gone, but it had {newest + 1} versions ({self.journal.location(table)}); "
                        f"{CURE}."
                    ) from error
                if not may_be_in_the_making:  # else another writer may just have made it: look again
                    raise StoreError(f"Table {uri} is damaged: {error}; restore it from a backup.") from error
            except (DeltaError, OSError) as error:
                raise fault(f"Cannot open table {uri}", error, "check the folder and its rights") from error
            time.sleep(0.02)
        raise AssertionError("unreachable: the last look returns or raises")

    def _newest_or_made(self, table: str) -> Snapshot:
        delta = self._open(table)
        if delta is not None:
            return self._snapshot(table, delta)
        try:
            DeltaTable.create(
                self.uri(table),
                schema_of(table),
                name=table,
                configuration=CONFIGURATION,
                storage_options=self._options(),
            )
        except (DeltaError, OSError) as error:
            if self._open(table) is None:  # else another writer made it first, which is as good
                raise fault(f"Cannot make table {self.uri(table)}", error, "check space and rights") from error
        return self._snapshot(table, self._open(table))

    def _write(self, snapshot: Snapshot, planned: Commit) -> None:
        records = [Transaction(name, 1) for name in planned.transactions]
        if planned.serial is not None:
            records.append(Transaction(planned.serial, (snapshot.transaction(planned.serial) or 0) + 1))
        try:
            write_deltalake(
                snapshot._delta,
                to_table(snapshot.table, planned.rows),
                mode="append",
                schema_mode="merge",  # a table of an older plankseg gains the columns that came since
                writer_properties=WriterProperties(compression="ZSTD"),
                commit_properties=CommitProperties(app_transactions=records),
            )
        except CommitFailedError:
            raise
        except (DeltaError, OSError, pa.ArrowException) as error:
            cure = "nothing of it is visible. Check free space and rights of the store, then run it again"
            raise fault(f"Cannot write table {snapshot.table!r}", error, cure) from error


def fault(beginning: str, error: Exception, cure: str) -> StoreError:
    """What a failure of the tables' own client means, be it a disk's or an S3 server's."""
    if isinstance(error, StoreError):
        return error
    from plankseg.storage.s3.errors import of_tables  # loads botocore: only who needs it pays

    text = " ".join(str(error).split())  # some of its messages have several lines
    return of_tables(text, beginning=beginning) or StoreError(f"{beginning}: {text}; {cure}.")


def _files_of(uri: str) -> pa_fs.FileSystem | None:
    """Arrow's own reading of a folder, whose threads need no Python; None for S3, which deltalake reads."""
    if is_s3(uri):
        return None
    return pa_fs.SubTreeFileSystem(unquote(urlparse(uri).path), pa_fs.LocalFileSystem())


def _log_is_there(uri: str) -> bool:
    """True when a table has any version at all: then 'not found' is a fault, and must not read as 'no rows'."""
    if is_s3(uri):
        from plankseg.storage.s3.objects import listing

        return any(True for _ in listing(Address.parse(uri) / "_delta_log", at_most=1))
    log = Path(uri) / "_delta_log"
    try:
        return any(entry.suffix == ".json" for entry in log.iterdir())
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StoreError(f"Cannot look into {log}: {error.strerror}; check the folder's rights.") from error


def _refuse_after_fork() -> None:
    """Delta's runtime does not survive a fork; say so instead of hanging or panicking."""
    global _runtime_pid
    if _runtime_pid is None:
        _runtime_pid = os.getpid()
    if _runtime_pid != os.getpid():
        raise StoreError(
            f"Process {os.getpid()} was forked from {_runtime_pid}, which had used the store's tables. "
            "Start it with 'spawn', or hand it Catalogue.loader(ids), which needs no table."
        )
