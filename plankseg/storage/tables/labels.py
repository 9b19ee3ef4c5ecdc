"""The `labels` table: every version of every answer, and the one that counts for each image.

Only the newest version of each annotation counts, so a person can take an answer back. Among an image's annotations a
usable one counts before a malformed one, and that before a skipped one.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, get_args

import pyarrow as pa
import pyarrow.compute as pc

from plankseg.errors import StoreError
from plankseg.storage.delta_tables import Commit, DeltaTables, Snapshot
from plankseg.storage.newest_rows import first_of_each
from plankseg.storage.schemas import as_mappings, check_choice, from_table

Origin = Literal["threshold", "accepted", "corrected", "empty", "drawn", "given"]
Status = Literal["usable", "skipped", "unusable", "quarantined"]
MACHINE_ORIGINS = ("threshold", "given")
# From weakest to strongest: a person's answer, then a mask that came with the image, then an automatic one.
STRENGTH = {"threshold": 0, "given": 1, "accepted": 2, "corrected": 2, "empty": 2, "drawn": 2}
# From weakest to strongest: a second person's malformed or skipped answer must not hide the first one's good answer.
STATUS_RANK = {"skipped": 0, "quarantined": 1, "unusable": 2, "usable": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRow:
    """One version of one answer. `seconds` of work, `changed_px` against the pre-mask, `round` 0 for ingest.

    `clicks` (boxes too) that the assistant answered and `outlines` are what a person used; None where nobody counted:
    answers of an earlier plankseg, and masks that no person made.
    `ls_updated_at` is Label Studio's own time of it, where its clock went back and `answered_at` had to be later.
    """

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
    ls_updated_at: datetime | None = None
    clicks: int | None = None
    outlines: int | None = None

    def __post_init__(self) -> None:
        check_choice("origin", self.origin, get_args(Origin))
        check_choice("status", self.status, get_args(Status))
        if self.answered_at.tzinfo is None:
            raise StoreError(f"Label of {self.image_id}: answered_at {self.answered_at} has no zone; give UTC.")
        if self.status == "usable" and (self.mask_sha is None or self.pixel_sha is None):
            raise StoreError(
                f"Label of {self.image_id} is usable but has no mask; put the mask first, an empty one too."
            )
        if self.by_person and self.ls_annotation is None:
            raise StoreError(f"Label of {self.image_id} is {self.origin} but names no annotation; give ls_annotation.")

    @property
    def by_person(self) -> bool:
        """True when a person answered, False when the mask was made or handed in with the image."""
        return self.origin not in MACHINE_ORIGINS

    @property
    def key(self) -> tuple[object, ...]:
        """What makes two rows the same answer: annotation and time, or for a mask from ingest image and origin."""
        if self.by_person:
            return (self.ls_annotation, _utc(self.ls_updated_at or self.answered_at))
        return (self.origin, self.image_id)


class Labels:
    """The `labels` table: every version of every answer; for each image the best of its newest versions counts."""

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

        Of each annotation its newest version only: usable and then skipped is skipped. Among an image's annotations
        usable or unusable beat quarantined, which beats skipped; then a person beats a machine, then the newest counts,
        then the highest annotation.
        """
        return from_table(LabelRow, _counting(self._tables.read("labels", version=version)))

    def answered(self, round_number: int) -> list[LabelRow]:
        """The answer that counts, as in `current`, for each image a person answered in a round, skips included."""
        by_person = ~pc.field("origin").isin(MACHINE_ORIGINS)
        rows = self._tables.read("labels", where=(pc.field("round") == round_number) & by_person)
        return from_table(LabelRow, _counting(rows))

    def of_people(self, round_number: int) -> list[LabelRow]:
        """Every version of every person's answer in a round, oldest first."""
        by_person = ~pc.field("origin").isin(MACHINE_ORIGINS)
        rows = self._tables.read("labels", where=(pc.field("round") == round_number) & by_person)
        return from_table(LabelRow, rows.sort_by([("answered_at", "ascending"), ("ls_annotation", "ascending")]))

    def versions(self) -> set[tuple[int, datetime]]:
        """Annotation and time (UTC) of every version of a person's answer that is recorded."""
        by_person = ~pc.field("origin").isin(MACHINE_ORIGINS)
        rows = self._tables.read("labels", columns=["ls_annotation", "answered_at", "ls_updated_at"], where=by_person)
        return {(row["ls_annotation"], _utc(row["ls_updated_at"] or row["answered_at"])) for row in rows.to_pylist()}

    def newest_versions(self) -> dict[int, datetime]:
        """When (UTC) the newest recorded version of each annotation was answered."""
        by_person = ~pc.field("origin").isin(MACHINE_ORIGINS)
        rows = self._tables.read("labels", columns=["ls_annotation", "answered_at"], where=by_person)
        newest = first_of_each(rows, ("ls_annotation",), {"answered_at": "descending"})
        return {row["ls_annotation"]: _utc(row["answered_at"]) for row in newest.to_pylist()}

    def hand_labelled_ids(self) -> set[str]:
        """Every image that a person ever answered, in whatever way."""
        by_person = ~pc.field("origin").isin(MACHINE_ORIGINS)
        return set(self._tables.read("labels", columns=["image_id"], where=by_person)["image_id"].to_pylist())

    def automatic_masks(self, *, version: int | None = None) -> dict[str, bool]:
        """Every image that the automatic method was tried on, whatever was answered since, and if it gave a mask."""
        by_threshold = pc.field("origin") == "threshold"
        rows = self._tables.read("labels", columns=["image_id", "status"], where=by_threshold, version=version)
        return {row["image_id"]: row["status"] == "usable" for row in rows.to_pylist()}

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
    answers = tuple(f"answer-{row.key[0]}-{row.key[1].isoformat()}" for row in rows if row.by_person)  # type: ignore[attr-defined]
    serial = None if all(row.by_person for row in rows) else "ingest"
    return Commit(rows=as_mappings(rows), transactions=answers, serial=serial)


def _recorded(snapshot: Snapshot, rows: Sequence[LabelRow]) -> set[tuple[object, ...]]:
    """The keys of these rows that the table already has. Rows and transactions are written together, so rows tell."""
    by_person = ~pc.field("origin").isin(MACHINE_ORIGINS)
    annotations = pa.array([row.ls_annotation for row in rows if row.by_person], pa.int64())
    images = pa.array([row.image_id for row in rows if not row.by_person], pa.string())
    same = (by_person & pc.field("ls_annotation").isin(annotations)) | (~by_person & pc.field("image_id").isin(images))
    found = snapshot.read(["image_id", "origin", "ls_annotation", "answered_at", "ls_updated_at"], same)
    keys: set[tuple[object, ...]] = set()
    for row in found.to_pylist():
        made = row["origin"] in MACHINE_ORIGINS
        keys.add(
            (row["origin"], row["image_id"])
            if made
            else (row["ls_annotation"], _utc(row["ls_updated_at"] or row["answered_at"]))
        )
    return keys


def _counting(rows: pa.Table) -> pa.Table:
    """Of each image's rows the one that counts, by ascending image_id."""
    by_person = pc.invert(pc.is_in(rows["origin"], pa.array(MACHINE_ORIGINS)))
    # One source is one annotation, or for a mask from ingest its origin.
    ranked = rows.append_column("source", pc.if_else(by_person, "person", rows["origin"]))
    ranked = ranked.append_column("annotation", pc.fill_null(rows["ls_annotation"], -1))
    ranked = ranked.append_column("status_rank", _ranks(rows["status"], STATUS_RANK))
    ranked = ranked.append_column("strength", _ranks(rows["origin"], STRENGTH))
    # The sha makes the result independent of the order of the files.
    newest = {"answered_at": "descending", "mask_sha": "ascending"}
    newest_versions = first_of_each(ranked, ("image_id", "source", "annotation"), newest)
    best = dict.fromkeys(("status_rank", "strength", "answered_at", "annotation"), "descending")
    return first_of_each(newest_versions, ("image_id",), best | newest).select(rows.schema.names)


def _ranks(column: pa.ChunkedArray, order: Mapping[str, int]) -> pa.ChunkedArray:
    return pa.array(list(order.values()), pa.int8()).take(pc.index_in(column, pa.array(list(order))))
