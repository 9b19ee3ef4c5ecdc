"""The `pushes` table: the Label Studio task of each image, by which a deleted task or project is noticed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pyarrow.compute as pc

from plankseg.storage.delta_tables import Commit, DeltaTables, Snapshot
from plankseg.storage.schemas import as_mappings, from_table, utc_now

KEY = ("project", "task", "round", "image_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class PushRow:
    """One image of a round became a task of a project; pushed again, it has a second row."""

    round: int
    image_id: str
    title: str
    project: int
    task: int
    pushed_at: datetime = field(default_factory=utc_now)


def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in KEY)


class Pushes:
    """The `pushes` table: append-only, each task once."""

    def __init__(self, tables: DeltaTables) -> None:
        self._tables = tables

    def add(self, rows: Iterable[PushRow]) -> int:
        """Record the tasks that are not recorded yet; how many these were.

        A new server may give the numbers of an old one again: the same task of another image is recorded, too.
        """
        given = {_key(as_mappings([row])[0]): row for row in rows}

        def plan(snapshot: Snapshot) -> Commit | None:
            known = {_key(row) for row in snapshot.read(list(KEY)).to_pylist()}
            fresh = [row for key, row in given.items() if key not in known]
            return Commit(rows=as_mappings(fresh), serial="push") if fresh else None

        return self._tables.commit("pushes", plan) if given else 0

    def of_round(self, round_number: int) -> list[PushRow]:
        """Every task that images of the round ever had."""
        return from_table(PushRow, self._tables.read("pushes", where=pc.field("round") == round_number))

    def owners(self, project: int) -> dict[int, tuple[int, str]]:
        """Round and image that each task of a project was pushed for; where a number came twice, the later ones."""
        rows = from_table(PushRow, self._tables.read("pushes", where=pc.field("project") == project))
        return {row.task: (row.round, row.image_id) for row in sorted(rows, key=lambda row: row.pushed_at)}

    def projects(self, title: str) -> dict[int, list[int]]:
        """The projects that tasks were pushed into under this title, each with its rounds, ascending."""
        rows = self._tables.read("pushes", columns=["project", "round"], where=pc.field("title") == title).to_pylist()
        found: dict[int, set[int]] = {}
        for row in rows:
            found.setdefault(row["project"], set()).add(row["round"])
        return {project: sorted(rounds) for project, rounds in sorted(found.items())}
