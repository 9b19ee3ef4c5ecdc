"""The `calibrations` table: the backend chosen for a model on a kind of machine, once, so that later runs agree."""

from dataclasses import dataclass, field
from datetime import datetime

import pyarrow.compute as pc

from plankseg.storage.delta_tables import DeltaTables
from plankseg.storage.schemas import as_mappings, from_table, utc_now


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendChoiceRow:
    """One choice. `key` names model, machine and settings; `record` is JSON: what was tried, and how it did."""

    key: str
    model_id: str
    machine: str
    backend: str
    record: str
    created_at: datetime = field(default_factory=utc_now)


class BackendChoices:
    """The `calibrations` table: one row per key, for ever."""

    def __init__(self, tables: DeltaTables) -> None:
        self._tables = tables

    def of(self, key: str) -> BackendChoiceRow | None:
        """The choice of this key; None when there is none yet."""
        rows = from_table(BackendChoiceRow, self._tables.read("calibrations", where=pc.field("key") == key))
        return rows[0] if rows else None

    def of_model(self, model_id: str) -> list[BackendChoiceRow]:
        """Every choice for a model, on all machines and for all settings."""
        return from_table(BackendChoiceRow, self._tables.read("calibrations", where=pc.field("model_id") == model_id))

    def settle(self, row: BackendChoiceRow) -> BackendChoiceRow:
        """Record a choice, and return the one that holds: of two that choose at once, the first."""
        self._tables.append("calibrations", as_mappings([row]), [f"calibration-{row.key}"])
        return self.of(row.key) or row
