"""The `segments` table: the shards of the archive that a model has segmented, and their measures.

A shard is a fixed list of images. Its measures are one Parquet object, named by its hash; the shard is done when its
row is in the `segments` table. Objects written before that row are used again, or made again with the same bytes.
"""

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from plankseg.errors import ObjectMissingError, StoreError
from plankseg.storage.delta_tables import DeltaTables
from plankseg.storage.objects.blobs import SHA_PATTERN, Blobs
from plankseg.storage.schemas import FLAG, INTEGER, REAL, TEXT, as_mappings, from_table, utc_now

MEASURES_SUFFIX = "parquet"
# One row per image. An image that could not be read has a `reason` and nothing else; an empty mask has no lengths.
# `confidence` is the Dice that the model expects of its mask, not calibrated: tables that leave say `expected_dice`.
_LENGTHS = ("perimeter_px", "major_axis_px", "minor_axis_px", "feret_px", "esd_px")
MEASURES = pa.schema(
    [pa.field("image_id", TEXT, nullable=False)]
    + [pa.field(name, TEXT) for name in ("mask_sha", "reason")]
    + [pa.field(name, INTEGER) for name in ("width", "height", "area_px", "filled_area_px", "parts")]
    + [pa.field(name, FLAG) for name in ("empty", "touches_border")]
    + [pa.field(name, REAL) for name in (*_LENGTHS, "confidence", "agreement")]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentRow:
    """One finished shard of a job. `settings` is JSON: how the model looked, beside which model it was.

    `unreadable` of its `images` could not be read; `seconds` is the wall time of the run that finished it.
    """

    shard_id: str
    job: str
    model_id: str
    settings: str
    images: int
    unreadable: int
    measures_sha: str
    seconds: float | None = None
    created_at: datetime = field(default_factory=utc_now)

    def __post_init__(self) -> None:
        for name in ("shard_id", "job", "model_id", "measures_sha"):
            if not SHA_PATTERN.fullmatch(getattr(self, name)):
                raise StoreError(f"{name} {getattr(self, name)[:80]!r} of a shard is no sha256; give 64 hex digits.")
        try:
            json.loads(self.settings)
        except ValueError as error:
            raise StoreError(f"settings of shard {self.shard_id[:12]} is no JSON: {error}.") from error


class Segments:
    """The `segments` table, one commit per shard, and the measures beside it."""

    def __init__(self, tables: DeltaTables, blobs: Blobs) -> None:
        self._tables = tables
        self._blobs = blobs

    def put_measures(self, rows: Sequence[Mapping[str, object]]) -> str:
        """Keep the measures of a shard's images as one Parquet object and return its sha256.

        The same rows give the same bytes. Raises StoreError for a row that does not fit the columns of `MEASURES`.
        """
        names = set(MEASURES.names)
        if misfit := next((row for row in rows if row.keys() != names), None):
            raise StoreError(f"A row of measures has {sorted(misfit)}; give exactly {sorted(names)}.")
        table = pa.Table.from_pylist(list(rows), schema=MEASURES)
        out = io.BytesIO()
        pq.write_table(table, out, compression="zstd")
        return self._blobs.put(out.getvalue(), MEASURES_SUFFIX)

    def commit(self, row: SegmentRow) -> bool:
        """Record a shard as done; False and nothing done when it is recorded already.

        Raises ObjectMissingError when its measures were not put first.
        """
        if not self._blobs.has(row.measures_sha, MEASURES_SUFFIX):
            raise ObjectMissingError(
                f"Measures {self._blobs.location(row.measures_sha, MEASURES_SUFFIX)} are missing; put_measures first."
            )
        return self._tables.append("segments", as_mappings([row]), [f"segment-{row.shard_id}"])

    def done(self, model_id: str, settings: str) -> list[SegmentRow]:
        """The finished shards of one model that looked in one way, of whatever job, oldest first."""
        same = (pc.field("model_id") == model_id) & (pc.field("settings") == settings)
        rows = self._tables.read("segments", where=same)
        return from_table(SegmentRow, rows.sort_by([("created_at", "ascending"), ("shard_id", "ascending")]))

    def measures(self, rows: Iterable[SegmentRow], *, columns: Sequence[str] | None = None) -> pa.Table:
        """What was measured in these shards, one row per image by ascending image_id.

        Of an image in several shards the first that could be read counts. Raises as `Blobs.get`.
        """
        wanted = list(MEASURES.names if columns is None else columns)
        needed = list(dict.fromkeys(["image_id", "reason", *wanted]))
        parts = [self._read(row.measures_sha, needed) for row in rows]
        together = pa.concat_tables([pa.schema([MEASURES.field(name) for name in needed]).empty_table(), *parts])
        readable = pc.is_null(together["reason"])
        firsts: dict[str, int] = {}
        for was_read in (True, False):
            for index in pc.indices_nonzero(pc.equal(readable, was_read)).to_pylist():
                firsts.setdefault(together["image_id"][index].as_py(), index)
        order = [firsts[image_id] for image_id in sorted(firsts)]
        return together.take(pa.array(order, pa.int64())).select(wanted)

    def _read(self, sha: str, columns: Sequence[str]) -> pa.Table:
        data = self._blobs.get(sha, MEASURES_SUFFIX)
        try:
            return pq.read_table(io.BytesIO(data), columns=list(columns))
        except (pa.ArrowException, OSError) as error:
            raise StoreError(f"Measures {sha} cannot be read: {error}; was it another plankseg's?") from error
