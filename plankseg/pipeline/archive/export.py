"""Export of a segmented archive: one table of measures, and zips that EcoTaxa imports.

Both are made from finished shards alone, the same bytes every time; a zip that is there already is not written again.
"""

import hashlib
import io
import json
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from plankseg.config import ExportConfig
from plankseg.errors import StoreError
from plankseg.files import atomic_file, atomic_write
from plankseg.imaging.masks import decode_mask
from plankseg.imaging.shape import without_background
from plankseg.pipeline.archive import ecotaxa
from plankseg.pipeline.archive.answers import MODEL, USABLE, Answers
from plankseg.pipeline.archive.ecotaxa import EXPECTED_DICE, clean_text, in_mm, object_columns, object_ids
from plankseg.pipeline.archive.image_paths import relative_paths, stem_of
from plankseg.pipeline.archive.measured_masks import measures_of_mask
from plankseg.pipeline.archive.shards import SegmentationJob
from plankseg.storage.store import Store
from plankseg.storage.tables.catalogue import ImageRow
from plankseg.storage.tables.models import ModelRow

LENGTHS = ("perimeter", "major_axis", "minor_axis", "feret", "esd")
AREAS = ("area", "filled_area")
_NAME_CHARACTERS = 200


@dataclass(frozen=True)
class Exported:
    """Where everything lies, and what it says in short."""

    table: Path
    zips: tuple[Path, ...]
    images: int
    unreadable: int
    empty: int
    touching: int
    in_parts: int


def measures_of(store: Store, model: ModelRow, settings: str, image_ids: Sequence[str]) -> pa.Table:
    """What was measured in these images, by ascending image_id; images that were not segmented are left out."""
    measures = store.segments.measures(store.segments.done(model.model_id, settings))
    return measures.filter(pc.is_in(measures["image_id"], pa.array(list(image_ids), pa.string())))


def export(store: Store, model: ModelRow, settings: str, image_ids: Sequence[str], *, config: ExportConfig) -> Exported:
    """Write table and zips of a part of the archive that was segmented; again, it writes only what is missing.

    Raises:
        StoreError: the folder cannot be written.
        ObjectMissingError, ObjectCorruptError: a mask or an image is not there any more, or not what it was.
    """
    measures = people_first(store, measures_of(store, model, settings, image_ids))
    folder = _folder(store, config)
    rows = store.catalogue.rows_by_id(measures["image_id"].to_pylist())
    paths = relative_paths(store, rows.values())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        table = _write_table(folder, measures, rows, paths, pixel_size_mm=config.pixel_size_mm)
        zips = (
            tuple(_Zips(store, folder, model, settings, config, paths).write(measures, rows)) if config.ecotaxa else ()
        )
    except StoreError:
        raise
    except OSError as error:
        raise StoreError(f"Cannot write to {folder}: {error.strerror or error}; check space and rights.") from error
    return Exported(
        table=table,
        zips=zips,
        images=measures.num_rows,
        unreadable=measures.num_rows - measures["reason"].null_count,
        empty=_count(measures["empty"]),
        touching=_count(measures["touches_border"]),
        in_parts=_count(pc.greater(measures["parts"], 1)),
    )


def people_first(store: Store, measures: pa.Table) -> pa.Table:
    """The measures, of a person's mask where a person made one, with `origin` and `status` of each; see `Answers`.

    Raises what `Answers.of_image` raises.
    """
    answers = Answers.of(store)
    is_answered = pc.is_in(measures["image_id"], pa.array(list(answers.labels), pa.string()))
    schema = pa.schema([*measures.schema, pa.field("origin", pa.string()), pa.field("status", pa.string())])
    others = measures.filter(pc.invert(is_answered))
    for value in (MODEL, USABLE):
        others = others.append_column(schema.field(others.num_columns), pa.repeat(value, others.num_rows))
    answered = [_answered(row, answers) for row in measures.filter(is_answered).to_pylist()]
    return pa.concat_tables([others, pa.Table.from_pylist(answered, schema=schema)]).sort_by("image_id")


def _answered(row: dict[str, Any], answers: Answers) -> dict[str, Any]:
    """The measures of an image that a person answered; one that could not be read keeps its reason and no mask."""
    is_read = row["reason"] is None
    answer = answers.of_image(row["image_id"], (row["height"], row["width"]) if is_read else None)
    if answer.mask is not None and is_read:
        row |= measures_of_mask(answer.mask) | {"mask_sha": answer.mask_sha}
    return row | {"origin": answer.origin if is_read else MODEL, "status": answer.status}


def _folder(store: Store, config: ExportConfig) -> Path:
    """Where a person finds it: the given folder, or one in the store; of a store in a bucket, in its local folder."""
    if config.folder:
        return Path(config.folder).expanduser().resolve()
    return (store.root if isinstance(store.root, Path) else store.work_root) / "exports"


def summary_of(store: Store, job: SegmentationJob, exported: Exported) -> list[dict[str, object]]:
    """Counts, throughput and places, as rows of a table for people."""
    shards = [row for row in store.segments.done(job.model.model_id, job.settings) if row.job == job.job]
    seconds = sum(row.seconds or 0.0 for row in shards)
    facts = {
        "images": exported.images,
        "cannot be read": exported.unreadable,
        "nothing found": exported.empty,
        "touch the border": exported.touching,
        "in several parts": exported.in_parts,
        "parts that were computed": len(shards),
        "images per second": round(sum(row.images for row in shards) / seconds, 1) if seconds else "",
        "model": job.model.model_id[:12],
        "table": str(exported.table),
    } | {f"zip {number}": str(path) for number, path in enumerate(exported.zips, start=1)}
    return [{"what": name, "value": value} for name, value in facts.items()]


def _count(flags: pa.ChunkedArray) -> int:
    return pc.sum(flags, min_count=0).as_py() or 0


def _write_table(
    folder: Path,
    measures: pa.Table,
    rows: Mapping[str, ImageRow],
    paths: Mapping[str, str],
    *,
    pixel_size_mm: float | None,
) -> Path:
    """All measures with what the catalogue knows of each image, as one Parquet file named by its content."""
    ordered = [rows[image_id] for image_id in measures["image_id"].to_pylist()]
    for name in ("taxon", "role", "dataset", "external_id"):
        measures = measures.add_column(1, name, pa.array([getattr(row, name) for row in ordered], pa.string()))
    measures = measures.add_column(1, "path", pa.array([paths[row.image_id] for row in ordered], pa.string()))
    if pixel_size_mm is not None:
        for names, unit, power in ((AREAS, "mm2", 2), (LENGTHS, "mm", 1)):
            for name in names:
                values = [in_mm(value, pixel_size_mm, power=power) for value in measures[f"{name}_px"].to_pylist()]
                measures = measures.append_column(f"{name}_{unit}", pa.array(values, pa.float64()))
    measures = measures.rename_columns({"confidence": EXPECTED_DICE})
    out = io.BytesIO()
    pq.write_table(measures, out, compression="zstd")
    path = folder / f"measures_{hashlib.sha256(out.getbuffer()).hexdigest()[:12]}.parquet"
    atomic_write(path, out.getvalue(), sole_writer=True)
    return path


@dataclass(frozen=True)
class _Zips:
    """Zips for EcoTaxa of the images that one model segmented with one set of settings."""

    store: Store
    folder: Path
    model: ModelRow
    settings: str
    config: ExportConfig
    paths: Mapping[str, str]

    def write(self, measures: pa.Table, rows: Mapping[str, ImageRow]) -> Iterator[Path]:
        """The zips of all images that could be read, in the order of their ids."""
        readable = measures.filter(pc.is_null(measures["reason"]))
        names = object_ids(self._own_names(readable["image_id"].to_pylist(), rows))
        sizes = zip(readable["width"].to_pylist(), readable["height"].to_pylist(), strict=True)
        for number, part in enumerate(ecotaxa.parts_of(sizes), start=1):
            some = readable.slice(part.start, part.stop - part.start).to_pylist()
            entries = [
                self._entry(measured, rows[measured["image_id"]], names[measured["image_id"]]) for measured in some
            ]
            yield self._zip(number, some, ecotaxa.table_bytes(entries))

    def _own_names(self, image_ids: Sequence[str], rows: Mapping[str, ImageRow]) -> dict[str, str | None]:
        """What each image is called in its archive; where several have that name, by their paths."""
        counts = Counter((rows[image_id].external_id or "").lower() for image_id in image_ids)
        names = {image_id: rows[image_id].external_id for image_id in image_ids}
        return {
            image_id: name if name and counts[name.lower()] == 1 else stem_of(self.paths[image_id])
            for image_id, name in names.items()
        }

    def _entry(self, measured: Mapping[str, Any], row: ImageRow, object_id: str) -> dict[str, ecotaxa.Value]:
        """One row of the table. Each data set is a sample, with one acquisition and one process of this model."""
        sample = clean_text(row.dataset, 200) or "plankseg"
        taxon = clean_text(row.taxon or "")
        pixel = self.config.pixel_size_mm
        return {
            "img_file_name": self._image_name(row.image_id),
            "img_rank": 0,
            "object_id": object_id,
            "object_annotation_category": taxon,
            "object_annotation_status": "predicted" if taxon else "",
            "object_mask_origin": measured["origin"],
            "object_mask_status": measured["status"],
            **object_columns(measured, pixel_size_mm=pixel),
            "sample_id": sample,
            "acq_id": f"{sample}_plankseg_{self.model.model_id[:12]}",
            "process_id": f"{sample}_plankseg_{self.model.model_id[:12]}",
            "process_software": "plankseg",
            "process_model": self.model.model_id,
            "process_views": str(json.loads(self.settings)["views"]),
            "process_particle_pixel_size_mm": "" if pixel is None else f"{pixel:.7g}",
        }

    def _image_name(self, image_id: str) -> str:
        """The image's path as a name without folders; the beginning of its id makes it the only one."""
        name = clean_text(stem_of(self.paths[image_id]).replace("/", "__"), _NAME_CHARACTERS)
        return f"{name}__{image_id[:12]}.{'png' if self.config.image_format == 'png' else 'jpg'}"

    def _zip(self, number: int, rows: Sequence[Mapping[str, Any]], table: bytes) -> Path:
        """One zip, named by its table and masks; it has another name until it is whole."""
        content = hashlib.sha256(table)
        content.update("\n".join(row["mask_sha"] for row in rows).encode())
        name = f"ecotaxa_{number:03d}_{content.hexdigest()[:12]}"
        path = self.folder / f"{name}.zip"
        if path.exists():
            return path
        load = self.store.catalogue.loader(row["image_id"] for row in rows)
        with atomic_file(path, sole_writer=True) as partial, zipfile.ZipFile(partial, "w") as archive:
            ecotaxa.write_entry(archive, f"{name}.tsv", table, compress=True)
            for row in rows:
                grey = load(row["image_id"])
                mask = decode_mask(self.store.blobs.get(row["mask_sha"], "png"), shape=(grey.shape[0], grey.shape[1]))
                data = ecotaxa.image_bytes(without_background(grey, mask), self.config.image_format)
                ecotaxa.write_entry(archive, self._image_name(row["image_id"]), data, compress=False)
        return path
