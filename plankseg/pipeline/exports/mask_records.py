"""The masks that an export takes: of a folder that `plankseg predict` wrote, or of a store, people's answers first."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from plankseg.archives.containers.entries import Entry, fault_of_name
from plankseg.archives.open_container import open_container
from plankseg.errors import OutputError, SettingsError
from plankseg.formats.mask_record import MaskRecord
from plankseg.imaging.masks import decode_mask
from plankseg.parallel import ordered_map
from plankseg.pipeline.archive.answers import MODEL, USABLE, Answers
from plankseg.pipeline.archive.image_paths import relative_paths
from plankseg.pipeline.models.registry import find_model, model_for
from plankseg.pipeline.prediction.output_folder import TABLE, recorded_job
from plankseg.storage.store import Store
from plankseg.storage.tables.segments import SegmentRow

Only = Literal["all", "people", "model"]
READERS = 4
ROWS_AT_ONCE = 5_000
Row = dict[str, object]


@dataclass(frozen=True)
class Masks:
    """So many masks, by ascending path, read when asked for; `skipped` images that a person refused are left out."""

    count: int
    records: Iterator[MaskRecord]
    skipped: int = 0
    without_segment: bool = False  # of a store where no model has masked the archive yet


def masks_of_folder(folder: Path, *, only: Only = "all") -> Masks:
    """The masks that `plankseg predict` wrote. Raises OutputError where it did not, or a mask cannot be read."""
    job = recorded_job(folder)
    if job is None or not (folder / TABLE).is_file():
        raise OutputError(f"{folder} is no finished folder of `plankseg predict`; run that first, or to its end.")
    table = pq.read_table(folder / TABLE)
    wanted = pc.equal(table["status"], USABLE)
    if only != "all":
        wanted = pc.and_(wanted, pc.equal(pc.equal(table["origin"], MODEL), only == "model"))
    taken = table.filter(wanted)

    images = _Images(job.images)

    def read(row: Row) -> MaskRecord:
        name = str(row["mask"])
        if fault_of_name(name) is not None:
            raise OutputError(f"{folder / TABLE} names the mask {name!r}, which does not lie below {folder}.")
        try:
            mask = decode_mask((folder / name).read_bytes())
        except (OSError, ValueError) as error:
            raise OutputError(f"The mask {folder / name} cannot be read: {error}. Run predict again.") from error
        return _record(row, mask=mask, read_image=partial(images.read, str(row["path"])))

    records = ordered_map(read, _rows(taken), threads=READERS, ahead=8 * READERS, name="read-masks")
    return Masks(taken.num_rows, records, skipped=pc.sum(pc.not_equal(table["status"], USABLE), min_count=0).as_py())


class _Images:
    """The image files that a folder of masks was made of, opened when the first of them is asked for."""

    def __init__(self, location: str) -> None:
        self._location = location
        self._entries: dict[str, Entry] | None = None
        self._lock = Lock()

    def read(self, path: str) -> bytes:
        """The bytes of an image. Raises OutputError where it is not there any more, ArchiveError, OSError."""
        file = Path(self._location) / path
        if file.is_file():
            return file.read_bytes()
        with self._lock:
            if self._entries is None:
                container = open_container(self._location)
                if container.in_order_only:
                    raise OutputError(f"{self._location} is compressed: unpack it to export its images beside masks.")
                self._entries = {entry.name: entry for entry in container.entries()}
        if path not in self._entries:
            raise OutputError(f"{self._location} has no image {path} any more; bring it back, or export masks alone.")
        return self._entries[path].read()


def masks_of_store(store: Store, *, model: str | None = None, only: Only = "all") -> Masks:
    """The masks of a store: a person's where a person answered, else those that the model made in `segment`.

    Images that a person skipped or called unusable are left out and counted. Raises SettingsError where there is none.
    """
    answers = Answers.of(store)
    made = {} if only == "people" else newest_segmentation(store, model).masks
    answered = {key for key, label in answers.labels.items() if label.status == USABLE and label.mask_sha is not None}
    refused = {key for key, label in answers.labels.items() if label.status != USABLE}
    ids = ({*made} | (answered if only != "model" else set())) - (answered if only == "model" else set()) - refused
    if not ids:
        raise SettingsError("There is no mask to export: nobody answered, and the flow 'segment' did not run.")
    rows = store.catalogue.rows(ids)
    paths = relative_paths(store, rows)
    ordered = sorted(rows, key=lambda row: (paths[row.image_id], row.image_id))

    def read(number: int) -> MaskRecord:
        image = ordered[number]
        label = answers.labels.get(image.image_id)
        measured = made.get(image.image_id, {})
        sha = label.mask_sha if label is not None else str(measured["mask_sha"])
        row = {
            "path": paths[image.image_id],
            "image_id": image.image_id,
            "origin": MODEL if label is None else label.origin,
            "status": USABLE,
            "taxon": image.taxon,
            "expected_dice": measured.get("confidence") if label is None else None,
            "model_id": measured.get("model_id") if label is None else None,
        }
        mask = decode_mask(store.blobs.get(str(sha), "png"), shape=(image.height, image.width))
        return _record(row, mask=mask, read_image=partial(store.catalogue.read_bytes, image.image_id))

    records = ordered_map(read, range(len(ordered)), threads=READERS, ahead=8 * READERS, name="read-masks")
    return Masks(len(ordered), records, skipped=len(refused & {*made}), without_segment=only == "all" and not made)


@dataclass(frozen=True)
class Segmentation:
    """What a model made of an archive in one way: mask and confidence by image, without those it could not read."""

    masks: dict[str, Row]
    model_id: str = ""
    settings: str = ""


def newest_segmentation(store: Store, words: str | None) -> Segmentation:
    """The newest segmentation by a model, named or the one that `segment` would take; without masks where none is."""
    if words is None and store.models.active() is None and not store.models.candidates():
        return Segmentation({})
    model = model_for(store) if words is None else find_model(store, words)
    rows = store.tables.read("segments", where=pc.field("model_id") == model.model_id)
    if not rows.num_rows:
        return Segmentation({})
    newest = rows.sort_by([("created_at", "descending")])["settings"][0].as_py()
    shards: list[SegmentRow] = store.segments.done(model.model_id, newest)
    measures = store.segments.measures(shards, columns=["image_id", "mask_sha", "confidence", "reason"])
    readable = measures.filter(pc.is_null(measures["reason"])).select(["image_id", "mask_sha", "confidence"])
    masks = {row["image_id"]: row | {"model_id": model.model_id} for row in readable.to_pylist()}
    return Segmentation(masks, model.model_id, newest)


def _rows(table: pa.Table) -> Iterator[Row]:
    for batch in table.to_batches(max_chunksize=ROWS_AT_ONCE):
        yield from batch.to_pylist()


def _record(row: Row, **fields: object) -> MaskRecord:
    names = ("path", "image_id", "origin", "status", "taxon", "model_id")
    known = {name: row[name] for name in names} | {"score": row["expected_dice"]}
    return MaskRecord(**known, **fields)  # type: ignore[arg-type]  # columns of our own tables
