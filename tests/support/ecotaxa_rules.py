"""EcoTaxa's own rules for an import, written down from its importer's behaviour (ecotaxa_back, as of 2025).

`complaints(zips)` says what EcoTaxa would refuse or lose when these zips are imported one after the other into one
project. An empty list means that all of it arrives.
"""

import csv
import io
import math
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from PIL import Image

BOM = b"\xef\xbb\xbf"
TABLES = ("object", "acq", "process", "sample")
OF_THE_IMAGE = ("img_file_name", "img_rank")
# Columns that EcoTaxa has by itself, with the types it expects; all others take one of a limited number of places.
OWN = {
    "img_file_name": "[t]",
    "img_rank": "[f]",
    "object_id": "[t]",
    "object_lat": "[f]",
    "object_lon": "[f]",
    "object_date": "[t]",
    "object_time": "[t]",
    "object_link": "[t]",
    "object_depth_min": "[f]",
    "object_depth_max": "[f]",
    "object_annotation_category": "[t]",
    "object_annotation_category_id": "[f]",
    "object_annotation_status": "[t]",
    "object_annotation_date": "[t]",
    "object_annotation_person_name": "[t]",
    "object_annotation_time": "[t]",
    "object_annotation_person_email": "[t]",
    "sample_id": "[t]",
    "acq_id": "[t]",
    "process_id": "[t]",
    "acq_instrument": "[t]",
    "sample_dataportal_descriptor": "[t]",
}
ROOM = {("object", "[f]"): 500, ("object", "[t]"): 20, "acq": 30, "process": 30, "sample": 30}
STATUSES = ("predicted", "dubious", "validated", "discarded")
FORMATS = ("PNG", "JPEG", "GIF")
ID_CHARACTERS, TEXT_CHARACTERS = 255, 250
UPLOAD_BYTES = 500_000_000


def complaints(zips: Iterable[Path]) -> list[str]:
    """Everything that is wrong with zips for one project, in words."""
    return list(_complaints(zips))


def _complaints(zips: Iterable[Path]) -> Iterator[str]:
    seen: set[str] = set()
    sample_of: dict[str, str] = {}
    for path in zips:
        if path.stat().st_size > UPLOAD_BYTES:
            yield f"{path.name} is larger than what can be uploaded"
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:
                yield f"{path.name} is damaged"
            names = archive.namelist()
            if len(set(names)) < len(names):
                yield f"{path.name} holds a name twice"
            tables = [name for name in names if _is_table(name)]
            if not tables:
                yield f"{path.name} has no ecotaxa*.tsv"
            for table in tables:
                yield from _of_table(archive, table, seen, sample_of)


def _is_table(name: str) -> bool:
    file = PurePosixPath(name).name
    return file.startswith("ecotaxa") and file.endswith((".tsv", ".txt"))


def _of_table(archive: zipfile.ZipFile, table: str, seen: set[str], sample_of: dict[str, str]) -> Iterator[str]:
    data = archive.read(table)
    text = data.decode("utf-8-sig" if data.startswith(BOM) else "latin-1")
    lines = list(csv.reader(io.StringIO(text, newline=""), delimiter="\t", quotechar='"'))
    if len(lines) < 3:
        yield f"{table} holds no object"
        return
    names, types, *rows = lines
    yield from _of_columns(names, types)
    for number, values in enumerate(rows, start=3):
        if len(values) != len(names):
            yield f"line {number} has {len(values)} values for {len(names)} columns"
            continue
        row = {name: value.strip() for name, value in zip(names, values, strict=True)}
        for wrong in _of_row(archive, table, row, dict(zip(names, types, strict=True)), seen, sample_of):
            yield f"line {number}: {wrong}"


def _of_columns(names: list[str], types: list[str]) -> Iterator[str]:
    if len(types) != len(names):
        yield f"{len(types)} types for {len(names)} columns"
        return
    if len(set(names)) < len(names):
        yield "a column stands there twice"
    used: dict[object, int] = {}
    for name, kind in zip(names, types, strict=True):
        table, _, field = name.partition("_")
        if name != name.strip().lower() or not field:
            yield f"column {name!r} is not <table>_<field> in small letters"
        elif kind not in ("[t]", "[f]"):
            yield f"column {name} has type {kind!r}"
        elif name in OWN:
            if OWN[name] != kind:
                yield f"column {name} has type {kind} and not {OWN[name]}"
        elif table not in TABLES:
            yield f"column {name} belongs to no table that EcoTaxa knows"
        else:
            room = (table, kind) if table == "object" else table
            used[room] = used.get(room, 0) + 1
    for room, count in used.items():
        if count > ROOM[room]:
            yield f"{count} columns for {room}, of which there are {ROOM[room]}"
    for table in TABLES:
        if any(name.startswith(f"{table}_") for name in names) and f"{table}_id" not in names:
            yield f"{table}_id is missing"
    yield from (f"{name} is missing" for name in ("img_file_name", "object_id") if name not in names)


def _of_row(
    archive: zipfile.ZipFile,
    table: str,
    row: dict[str, str],
    types: dict[str, str],
    seen: set[str],
    sample_of: dict[str, str],
) -> Iterator[str]:
    for name, value in row.items():
        limit = ID_CHARACTERS if name.endswith("_id") or name == "img_file_name" else TEXT_CHARACTERS
        if types[name] == "[f]":
            if value and value.lower() not in ("nan", "na") and not _is_number(value):
                yield f"{name} is {value!r} and no number"
        elif len(value) > limit:
            yield f"{name} has {len(value)} characters"
        elif not value.isprintable():
            yield f"{name} has characters that cannot be shown"
    if not row.get("object_id"):
        yield "object_id is empty"
    elif row["object_id"] in seen:
        yield f"object_id {row['object_id']!r} is there already: it would become another image of that object"
    seen.add(row.get("object_id", ""))
    yield from _of_image(archive, table, row.get("img_file_name", ""))
    sample, acquisition = row.get("sample_id", ""), row.get("acq_id", "")
    if sample and acquisition and sample_of.setdefault(acquisition, sample) != sample:
        yield f"acquisition {acquisition!r} is in two samples"
    category, status = row.get("object_annotation_category", ""), row.get("object_annotation_status", "")
    if bool(category) != bool(status):
        yield f"category {category!r} with status {status!r}: both or none"
    if status and status not in STATUSES:
        yield f"status {status!r} is not known"


def _of_image(archive: zipfile.ZipFile, table: str, name: str) -> Iterator[str]:
    path = str(PurePosixPath(table).parent / name)
    if path not in archive.namelist():
        yield f"image {name!r} is not in the zip"
        return
    with Image.open(io.BytesIO(archive.read(path))) as image:
        image.load()
        if image.format not in FORMATS:
            yield f"image {name!r} is a {image.format}"


def _is_number(value: str) -> bool:
    try:
        return math.isfinite(float(value))
    except ValueError:
        return False
