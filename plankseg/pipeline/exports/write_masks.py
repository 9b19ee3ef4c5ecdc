"""Export of masks to a file or folder in the format of another program, whole or not at all."""

import csv
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from plankseg.archives.containers.entries import fault_of_name
from plankseg.errors import OutputError, PlanksegError, SettingsError
from plankseg.files import atomic_file
from plankseg.formats.mask_record import MaskRecord
from plankseg.imaging.masks import encode_mask_8bit
from plankseg.pipeline.archive.image_paths import stem_of
from plankseg.pipeline.exports.mask_records import Masks

Format = Literal["png", "pairs", "coco", "imagej", "geojson", "label-studio", "ifcb", "zooprocess"]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Written:
    """What an export wrote: so many images with masks; `without` are those that have no place in it, and why."""

    images: int
    without: tuple[tuple[str, str], ...] = field(default=())


def write_masks(
    masks: Masks, kind: Format, target: Path, *, overwrite: bool = False, told: Progress | None = None
) -> Written:
    """Write masks in one format. A file appears when it is whole; a folder takes its name when it is.

    Raises OutputError where something is at the target already, unless `overwrite`, or where it cannot be written.
    """
    if target.exists() and not overwrite:
        raise OutputError(f"{target} exists; name another one, or give --overwrite to replace it.")
    counted = _counted(masks, told)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if kind in ("png", "pairs"):
            return _write_folder(counted, target, pairs=kind == "pairs")
        if target.is_dir():
            raise OutputError(f"{target} is a folder, and {kind} is one file; name a file.")
        return _FILES[kind](counted, target)
    except PlanksegError:
        raise
    except OSError as error:
        raise OutputError(f"Cannot write {target}: {error.strerror or error}; check space and rights.") from error


def _counted(masks: Masks, told: Progress | None) -> Iterator[MaskRecord]:
    for done, record in enumerate(masks.records, 1):
        yield record
        if told is not None:
            told(done, masks.count)


def _write_folder(records: Iterator[MaskRecord], target: Path, *, pairs: bool) -> Written:
    """`<path>.png`, or `images/<path>` and `masks/<path>.png`, in a new folder that then takes the target's place."""
    if target.exists() and not target.is_dir():
        raise OutputError(f"{target} is a file; name a folder.")
    count, without, taken = 0, list[tuple[str, str]](), set[str]()
    with _folder(target) as folder:
        for record in records:
            if (fault := fault_of_name(record.path)) is not None:
                without.append((record.path, fault))
                continue
            name = f"{stem_of(record.path)}.png"
            name = f"{record.path}.png" if name in taken else name
            if name in taken:
                without.append((record.path, "two images have this path"))
                continue
            taken.add(name)
            if pairs:
                try:
                    image = record.read_image()
                except (PlanksegError, OSError) as error:
                    without.append((record.path, str(error)))
                    continue
                _write(folder / "images" / record.path, image)
            _write(folder / "masks" / name if pairs else folder / name, encode_mask_8bit(record.mask))
            count += 1
    return Written(count, tuple(without))


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


@contextmanager
def _folder(target: Path) -> Iterator[Path]:
    """A new folder beside the target, which takes its place at the end; after an error nothing is left of it."""
    partial = Path(tempfile.mkdtemp(prefix=f".{target.name[:100]}.", suffix=".partial", dir=target.parent))
    try:
        partial.chmod(0o777 & ~_umask())
        yield partial
        if not target.exists():
            partial.rename(target)
        else:  # to be written over: what has other names stays
            for path in (path for path in partial.rglob("*") if path.is_file()):
                (target / path.relative_to(partial)).parent.mkdir(parents=True, exist_ok=True)
                path.replace(target / path.relative_to(partial))
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _write_coco(records: Iterator[MaskRecord], target: Path) -> Written:
    from plankseg.formats.coco import CocoWriter

    count = 0
    with (
        atomic_file(target) as partial,
        partial.open("w", encoding="utf-8") as images,
        tempfile.TemporaryFile("w+", encoding="utf-8", dir=target.parent) as annotations,
    ):
        writer = CocoWriter(images, annotations)
        for record in records:
            writer.add(record)
            count += 1
        writer.finish()
    return Written(count)


def _write_imagej(records: Iterator[MaskRecord], target: Path) -> Written:
    from plankseg.formats.imagej_rois import add_roi

    count, without = 0, list[tuple[str, str]]()
    with atomic_file(target) as partial, zipfile.ZipFile(partial, "w") as archive:
        for record in records:
            if add_roi(archive, record):
                count += 1
            else:
                without.append((record.path, "its mask is empty, and ImageJ has no empty ROI"))
    return Written(count, tuple(without))


def _write_geojson(records: Iterator[MaskRecord], target: Path) -> Written:
    from plankseg.formats.geojson import feature

    return _write_lines(map(feature, records), target, '{"type":"FeatureCollection","features":[', "]}")


def _write_label_studio(records: Iterator[MaskRecord], target: Path) -> Written:
    from plankseg.formats.label_studio_json import task

    return _write_lines(map(task, records), target, "[", "]")


def _write_lines(lines: Iterator[str], target: Path, begin: str, end: str) -> Written:
    """Lines of JSON as the elements of one list."""
    count = 0
    with atomic_file(target) as partial, partial.open("w", encoding="utf-8") as file:
        file.write(begin)
        for line in lines:
            file.write(",\n" if count else "\n")
            file.write(line)
            count += 1
        file.write(f"\n{end}\n")
    return Written(count)


def _write_ifcb(records: Iterator[MaskRecord], target: Path) -> Written:
    from plankseg.imaging.measures.ifcb_features import COLUMNS, slim_features

    return _write_measures(records, target, COLUMNS, lambda record: slim_features(record.mask))


def _write_zooprocess(records: Iterator[MaskRecord], target: Path) -> Written:
    from plankseg.imaging.measures.zooprocess import COLUMNS, zooprocess_features
    from plankseg.imaging.reading import read_grey

    def measure(record: MaskRecord) -> Mapping[str, float]:
        return zooprocess_features(record.mask, read_grey(record.read_image()))

    return _write_measures(records, target, COLUMNS, measure)


def _write_measures(
    records: Iterator[MaskRecord],
    target: Path,
    columns: Sequence[str],
    measure: Callable[[MaskRecord], Mapping[str, float]],
) -> Written:
    """A table with a row for each mask; an empty one has no measures, and one whose image cannot be read no row."""
    count, without = 0, list[tuple[str, str]]()
    with atomic_file(target) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, ("path", "image_id", "taxon", "origin", "status", *columns), restval="")
        table.writeheader()
        for record in records:
            known = {name: getattr(record, name) or "" for name in ("path", "image_id", "taxon", "origin", "status")}
            try:
                found = measure(record) if record.mask.any() else {}
            except (PlanksegError, OSError) as error:
                without.append((record.path, str(error)))
                continue
            table.writerow(known | dict(found))
            count += 1
    return Written(count, tuple(without))


_FILES: dict[str, Callable[[Iterator[MaskRecord], Path], Written]] = {
    "coco": _write_coco,
    "imagej": _write_imagej,
    "geojson": _write_geojson,
    "label-studio": _write_label_studio,
    "ifcb": _write_ifcb,
    "zooprocess": _write_zooprocess,
}


def checked_format(name: str) -> Format:
    """The format of this name. Raises SettingsError for another."""
    if name not in get_args(Format):
        raise SettingsError(
            f"{name!r} is no format that masks are exported in; give one of {', '.join(get_args(Format))}."
        )
    return name  # type: ignore[return-value]  # one of them
