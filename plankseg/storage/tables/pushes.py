"""The `pushes` table: the Label Studio task of each image, by which a deleted task or project is noticed."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

import pyarrow.compute as pc

from plankseg.storage.delta_tables import Commit, DeltaTables, Snapshot
from plankseg.storage.schemas import as_mappings, from_table, utc_now


@dataclass(frozen=True, slots=True, kw_only=True)
class PushRow:
    """One image of a round became a task of a project; pushed again, it has a second row."""

    round: int
    image_id: str
    title: str
    project: int
    task: int
    pushed_at: datetime = field(default_factory=utc_now)


class Pushes:
    """The `pushes` table: append-only, each task once."""

    def __init__(self, tables: DeltaTables) -> None:
        self._tables = tables

    def add(self, rows: Iterable[PushRow]) -> int:
        """Record the tasks that are not recorded yet; how many these were."""
        given = {(row.project, row.task): row for row in rows}

        def plan(snapshot: Snapshot) -> Commit | None:
            there = snapshot.read(["project", "task"]).to_pylist()
            known = {(row["project"], row["task"]) for row in there}
            fresh = [row for key, row in given.items() if key not in known]
            return Commit(rows=as_mappings(fresh), serial="push") if fresh else None

        return self._tables.commit("pushes", plan) if given else 0

    def of_round(self, round_number: int) -> list[PushRow]:
        """Every task that images of the round ever had."""
        return from_table(PushRow, self._tables.read("pushes", where=pc.field("round") == round_number))

    def projects(self, title: str) -> dict[int, list[int]]:
        """The projects that tasks were pushed into under this title, each with its rounds, ascending."""
        rows = self._tables.read("pushes", columns=["project", "round"], where=pc.field("title") == title).to_pylist()
        found: dict[int, set[int]] = {}
        for row in rows:
            found.setdefault(row["project"], set()).add(row["round"])
        return {project: sorted(rounds) for project, rounds in sorted(found.items())}
