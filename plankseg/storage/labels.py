"""Which mask counts for each image now, and which answers were given before?"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, get_args

import pyarrow as pa
import pyarrow.compute as pc

from plankseg.errors import StoreError
from plankseg.storage.schemas import as_mappings, check_choice, from_table
from plankseg.storage.tables import Commit, DeltaTables, Snapshot

Origin = Literal["threshold", "accepted", "corrected", "empty", "drawn", "given"]
Status = Literal["usable", "skipped", "unusable", "quarantined"]
MACHINE_ORIGINS = ("threshold", "given")
# From weakest to strongest: a hand's answer counts more than a mask that came with the image, that more than ours.
STRENGTH = {"threshold": 0, "given": 1, "accepted": 2, "corrected": 2, "empty": 2, "drawn": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRow:
    """One version of one answer. `seconds` of work, `changed_px` against the pre-mask, `round` 0 for ingest."""

    image_id: str
    round: int
    origin: Origin
    status: Status
    answered_at: datetime
    mask_sha: str | None = None
    pixel_sha: str | None = None
    reason: str | None = None
    annotator: str | None = None
    seconds: float | None = None
    premask_sha: str | None = None
    model_id: str | None = None
    dice_to_premask: float | None = None
    changed_px: int | None = None
    ls_task: int | None = None
    ls_annotation: int | None = None

    def __post_init__(self) -> None:
        check_choice("origin", self.origin, get_args(Origin))
        check_choice("status", self.status, get_args(Status))
        if self.answered_at.tzinfo is None:
            raise StoreError(f"Label of {self.image_id}: answered_at {self.answered_at} has no zone; give UTC.")
        if self.status == "usable" and (self.mask_sha is None or self.pixel_sha is None):
            raise StoreError(
                f"Label of {self.image_id} is usable but has no mask; put the mask first, an empty one too."
            )
        if self.by_hand and self.ls_annotation is None:
            raise StoreError(f"Label of {self.image_id} is {self.origin} but names no annotation; give ls_annotation.")

    @property
    def by_hand(self) -> bool:
        """True when a person answered, False when the mask was made or handed in with the image."""
        return self.origin not in MACHINE_ORIGINS

    @property
    def key(self) -> tuple[object, ...]:
        """What makes two rows the same answer: annotation and time, or for a mask from ingest image and origin."""
        if self.by_hand:
            return (self.ls_annotation, _utc(self.answered_at))
        return (self.origin, self.image_id)


class Labels:
    """The `labels` table: every version of every answer; the newest one that says something counts."""

    def __init__(self, tables: DeltaTables) -> None:
        self._tables = tables

    def add(self, rows: Iterable[LabelRow]) -> int:
        """Record in one commit the answers that are not there yet, and return how many were.

        An answer is known by `answer-<annotation>-<answered_at>`, a mask from ingest by its image and origin.
        """
        unique: dict[tuple[object, ...], LabelRow] = {}
        for row in rows:
            unique.setdefault(row.key, row)
        if not unique:
            return 0
        return self._tables.commit("labels", lambda snapshot: _what_is_new(snapshot, unique))

    def current(self, *, version: int | None = None) -> list[LabelRow]:
        """The label that counts for each image, by ascending image_id, now or at a past version of the table.

        An answer beats a skip, a hand beats a machine, then the newest counts, then the highest annotation.
        """
        return from_table(LabelRow, _counting(self._tables.read("labels", version=version)))

    def answered(self, round_number: int) -> list[LabelRow]:
        """The answer that counts for each image a person answered in a round, skips included."""
        by_hand = ~pc.field("origin").isin(MACHINE_ORIGINS)
        rows = self._tables.read("labels", where=(pc.field("round") == round_number) & by_hand)
        return from_table(LabelRow, _counting(rows))

    def hand_labelled_ids(self) -> set[str]:
        """Every image that a person ever answered, in whatever way."""
        by_hand = ~pc.field("origin").isin(MACHINE_ORIGINS)
        return set(self._tables.read("labels", columns=["image_id"], where=by_hand)["image_id"].to_pylist())

    def history(self, image_id: str) -> list[LabelRow]:
        """Every version of every answer for one image, oldest first."""
        rows = self._tables.read("labels", where=pc.field("image_id") == image_id)
        return from_table(LabelRow, rows.sort_by([("answered_at", "ascending"), ("ls_annotation", "ascending")]))

    def version(self) -> int:
        """The table's newest version, for a model to name what it was trained on."""
        return self._tables.version("labels")


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


def _what_is_new(snapshot: Snapshot, unique: dict[tuple[object, ...], LabelRow]) -> Commit | None:
    there = _recorded(snapshot, list(unique.values()))
    rows = [row for key, row in unique.items() if key not in there]
    if not rows:
        return None
    # One transaction per answer; thousands of masks from ingest share one, so that the log stays quick.
    answers = tuple(f"answer-{row.ls_annotation}-{_utc(row.answered_at).isoformat()}" for row in rows if row.by_hand)
    serial = None if all(row.by_hand for row in rows) else "ingest"
    return Commit(rows=as_mappings(rows), transactions=answers, serial=serial)


def _recorded(snapshot: Snapshot, rows: Sequence[LabelRow]) -> set[tuple[object, ...]]:
    """The keys of these rows that the table already has. Rows and transactions are written together, so rows tell."""
    by_hand = ~pc.field("origin").isin(MACHINE_ORIGINS)
    annotations = pa.array([row.ls_annotation for row in rows if row.by_hand], pa.int64())
    images = pa.array([row.image_id for row in rows if not row.by_hand], pa.string())
    same = (by_hand & pc.field("ls_annotation").isin(annotations)) | (~by_hand & pc.field("image_id").isin(images))
    found = snapshot.read(["image_id", "origin", "ls_annotation", "answered_at"], same)
    keys: set[tuple[object, ...]] = set()
    for row in found.to_pylist():
        made = row["origin"] in MACHINE_ORIGINS
        keys.add((row["origin"], row["image_id"]) if made else (row["ls_annotation"], _utc(row["answered_at"])))
    return keys


def _counting(rows: pa.Table) -> pa.Table:
    """Of each image's rows the one that counts, by ascending image_id."""
    strengths = pa.array(list(STRENGTH.values())).take(pc.index_in(rows["origin"], pa.array(list(STRENGTH))))
    ranked = rows.append_column("says", pc.not_equal(rows["status"], "skipped").cast(pa.int8()))
    ranked = ranked.append_column("strength", strengths).sort_by(
        [
            ("image_id", "ascending"),
            ("says", "descending"),
            ("strength", "descending"),
            ("answered_at", "descending"),
            ("ls_annotation", "descending"),
            ("mask_sha", "ascending"),  # only so that the order never depends on the files
        ]
    )
    ids = ranked["image_id"].combine_chunks()
    if len(ids) == 0:
        return rows
    is_first = pc.not_equal(ids.slice(1), ids.slice(0, len(ids) - 1))
    return ranked.filter(pa.concat_arrays([pa.array([True]), is_first])).select(rows.schema.names)
