"""The `audits` table: samples of masks that people judge, each drawn once."""

from dataclasses import dataclass, field
from datetime import datetime

import pyarrow.compute as pc

from plankseg.storage.delta_tables import Commit, DeltaTables, Snapshot
from plankseg.storage.schemas import as_mappings, from_table, utc_now


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    """One audit. `number` is its own, from 1; `settings` the segmentation's; `manifest_sha` names what was drawn."""

    number: int
    model_id: str
    settings: str
    wanted: int
    seed: int
    manifest_sha: str
    created_at: datetime = field(default_factory=utc_now)


class Audits:
    """The `audits` table: append-only, one row for each model, segmentation, size and seed."""

    def __init__(self, tables: DeltaTables) -> None:
        self._tables = tables

    def all(self) -> list[AuditRow]:
        """Every audit, by number."""
        return from_table(AuditRow, self._tables.read("audits").sort_by("number"))

    def of(self, model_id: str, settings: str, *, wanted: int, seed: int) -> AuditRow | None:
        """The audit of this segmentation with this size and seed; None where none was drawn yet."""
        same = (
            (pc.field("model_id") == model_id)
            & (pc.field("settings") == settings)
            & (pc.field("wanted") == wanted)
            & (pc.field("seed") == seed)
        )
        rows = from_table(AuditRow, self._tables.read("audits", where=same))
        return rows[0] if rows else None

    def add(self, row: AuditRow) -> AuditRow:
        """Record an audit under the next number, and return the one that holds: of two at once, the first."""

        def plan(snapshot: Snapshot) -> Commit | None:
            name = f"audit-{row.model_id}-{row.settings}-{row.wanted}-{row.seed}"
            if snapshot.transaction(name) is not None:
                return None
            numbers = snapshot.read(["number"])["number"].to_pylist()
            numbered = as_mappings([row])[0] | {"number": max(numbers, default=0) + 1}
            return Commit(rows=[numbered], transactions=(name,), serial="audit")

        self._tables.commit("audits", plan)
        return self.of(row.model_id, row.settings, wanted=row.wanted, seed=row.seed) or row
