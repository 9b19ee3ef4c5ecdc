"""The `exclusions` table: images left out because they cannot be read, or taken out by a person, and why."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal, get_args

from plankseg.storage.delta_tables import Commit, DeltaTables, Snapshot
from plankseg.storage.newest_rows import first_of_each
from plankseg.storage.schemas import as_mappings, check_choice, from_table, utc_now

# 'removed' by a person; 'unreadable' when it was needed; 'included' again after either.
Kind = Literal["removed", "unreadable", "included"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExclusionRow:
    """One decision on an image; the newest one counts."""

    image_id: str
    kind: Kind
    reason: str
    decided_at: datetime = field(default_factory=utc_now)

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, get_args(Kind))


class Exclusions:
    """The `exclusions` table: append-only; of an image's rows the newest counts."""

    def __init__(self, tables: DeltaTables) -> None:
        self._tables = tables

    def record(self, rows: Iterable[ExclusionRow]) -> int:
        """Record what changes something, and return how many rows did.

        An image that a person removed is not 'unreadable' afterwards; 'included' changes only what was excluded.
        """
        given = {row.image_id: row for row in rows}

        def plan(snapshot: Snapshot) -> Commit | None:
            newest = {row.image_id: row for row in _newest(snapshot)}
            fresh = [after(row, newest.get(row.image_id)) for row in given.values() if changes(row, newest)]
            return Commit(rows=as_mappings(fresh), serial="exclusion") if fresh else None

        return self._tables.commit("exclusions", plan) if given else 0

    def current(self, kind: Kind | None = None) -> dict[str, ExclusionRow]:
        """The row that counts of every image that is left out now: of one kind, or of both."""
        rows = {row.image_id: row for row in _newest(self._tables.snapshot("exclusions")) if row.kind != "included"}
        return {image_id: row for image_id, row in rows.items() if kind in (None, row.kind)}

    def version(self) -> int:
        """The table's newest version."""
        return self._tables.version("exclusions")


def changes(row: ExclusionRow, newest: dict[str, ExclusionRow]) -> bool:
    """True when a row says something new about its image."""
    before = newest[row.image_id].kind if row.image_id in newest else "included"
    return row.kind != before and not (row.kind == "unreadable" and before == "removed")


def after(row: ExclusionRow, before: ExclusionRow | None) -> ExclusionRow:
    """The row, newer than the one it follows, whatever the clocks of two machines say."""
    if before is None or row.decided_at > before.decided_at:
        return row
    return replace(row, decided_at=before.decided_at + timedelta(microseconds=1))


def _newest(snapshot: Snapshot) -> list[ExclusionRow]:
    return from_table(ExclusionRow, first_of_each(snapshot.read(), ("image_id",), {"decided_at": "descending"}))
