"""Metadata tables of images: file, object id, taxon, area and rank of each row.

Comma, semicolon or tab; utf-8 with or without BOM, else latin-1 line by line; decimal comma. Only the few columns that
are asked for are kept: an EcoTaxa export has 150, with people's addresses among them.
"""

import csv
import gzip
import hashlib
import io
import re
import zlib
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Literal

import numpy as np

from plankseg.errors import ArchiveError

Meaning = Literal["file", "identity", "taxon", "area", "rank"]
# Names that a column of each meaning goes by, the first that is there counts; compared without case.
NAMES: dict[Meaning, tuple[str, ...]] = {
    "file": ("img_file_name", "img_path", "file", "file_name", "filename", "image", "image_fn", "image_path", "path"),
    "identity": ("object_id", "objid", "id"),
    "taxon": (
        "object_annotation_category",
        "annotation_category",
        "taxon_level1",
        "taxon",
        "class",
        "label",
        "category",
    ),
    "area": ("object_area", "area", "raw_area", "area_px", "area_published_px", "instrument_area_px"),
    "rank": ("img_rank",),
}
MAX_LINE = 4 * 2**20
UNREADABLE_SHOWN = 100
_TYPES = re.compile(r"\[[tf]\]")


@dataclass(frozen=True, slots=True)
class Row:
    """What a table says about one image; `number` counts the table's rows from 0."""

    number: int
    file: str
    identity: str
    taxon: str | None
    area_px: float | None
    is_lowest_rank: bool


class Table:
    """The rows of one table, found by an image's file name or an object's identity.

    Texts lie in one buffer and keys as 8-byte hashes, some 150 bytes a row: 1.4 million rows stay far below 1 GB.
    """

    def __init__(self, name: str, columns: dict[Meaning, str], rows: Iterator[Sequence[str]]) -> None:
        self.name = name
        self.columns = columns
        self.unreadable: list[str] = []
        self._texts = bytearray()
        self._ends = array("Q", [0])
        self._areas, self._ranks, keys, objects = array("d"), array("l"), array("Q"), array("Q")
        for number, cells in enumerate(rows):
            row = dict(zip(columns, cells, strict=True))
            self._texts += "\0".join((row.get("file", ""), row.get("identity", ""), row.get("taxon", ""))).encode()
            self._ends.append(len(self._texts))
            self._areas.append(as_area(row.get("area", "")))
            self._ranks.append(_as_rank(row.get("rank", "")))
            keys.append(_hashed(_file_key(row["file"]) if "file" in row else row.get("identity", "")))
            objects.append(_hashed(row["identity"]) if row.get("identity") else 2**63 + number)
        self._keys = np.frombuffer(keys, np.uint64) if keys else np.zeros(0, np.uint64)
        self._order = np.argsort(self._keys, kind="stable")
        self._lowest = _lowest_of_each(np.frombuffer(objects, np.uint64), self._ranks) if keys else np.zeros(0, bool)
        self.was_matched = np.zeros(len(keys), dtype=bool)

    def __len__(self) -> int:
        return len(self._areas)

    @property
    def names_files(self) -> bool:
        """True when it names files; else it knows objects by their identity, which is their file's stem."""
        return "file" in self.columns

    @property
    def is_ecotaxa(self) -> bool:
        """True for the columns of an EcoTaxa export."""
        return self.columns.get("file") == "img_file_name"

    def rows(self, key: str) -> list[Row]:
        """The rows of a file's own name, or of an identity."""
        wanted = np.uint64(_hashed(key))
        first = int(np.searchsorted(self._keys, wanted, sorter=self._order))
        found = []
        while first < len(self) and self._keys[self._order[first]] == wanted:
            row = self.row(int(self._order[first]))
            if key in (_file_key(row.file), row.identity):
                found.append(row)
            first += 1
        return found

    def row(self, number: int) -> Row:
        """A row by its number."""
        file, identity, taxon = self._texts[self._ends[number] : self._ends[number + 1]].decode().split("\0")
        area = self._areas[number]
        return Row(number, file, identity, taxon or None, None if area != area else area, bool(self._lowest[number]))


def read_table(name: str, file: BinaryIO, *, wanted: dict[Meaning, str] | None = None) -> Table | None:
    """The table in a file; None when it has no column that could name images.

    `wanted` names columns instead of the usual ones, '' for none. Raises ArchiveError when it cannot be read, or when a
    column that is wanted is not there.
    """
    stream = gzip.GzipFile(fileobj=file) if name.lower().endswith(".gz") else file
    try:
        lines = _lines(name, stream)
        header = next(lines, "")
        delimiter = max("\t;,", key=header.count)
        names = [cell.strip() for cell in next(csv.reader([header], delimiter=delimiter), [])]
        columns = _columns(name, names, wanted or {})
        if "file" not in columns and "identity" not in columns:
            return None
        unreadable: list[str] = []
        rows = _rows(csv.reader(lines, delimiter=delimiter), names, list(columns.values()), unreadable)
        table = Table(name, columns, rows)
        table.unreadable = unreadable
    except (csv.Error, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ArchiveError(f"Table {name} cannot be read: {error}. Export it again as a plain CSV or TSV.") from error
    return table


def as_area(text: str) -> float:
    """A number with decimal point or comma; NaN where there is none, or none above 0."""
    try:
        value = float(text.strip().replace(",", ".") or "nan")
    except ValueError:
        return float("nan")
    return value if 0 < value < float("inf") else float("nan")


def _as_rank(text: str) -> int:
    try:
        return int(float(text.replace(",", "."))) if text.strip() else 0
    except (ValueError, OverflowError):
        return 0


def _lines(name: str, stream: io.BufferedIOBase | BinaryIO) -> Iterator[str]:
    """The lines as text: utf-8, and each line that is none as latin-1."""
    while line := stream.readline(MAX_LINE):
        if len(line) == MAX_LINE:
            raise ArchiveError(f"Table {name} has a line of over {MAX_LINE} bytes; is it a table?")
        line = line.removeprefix(b"\xef\xbb\xbf").replace(b"\0", b"")
        try:
            yield line.decode("utf-8")
        except UnicodeDecodeError:
            yield line.decode("latin-1")


def _columns(name: str, names: list[str], wanted: dict[Meaning, str]) -> dict[Meaning, str]:
    """For each meaning the column that has it."""
    by_lower = {column.lower(): column for column in reversed(names)}
    missing = [column for column in wanted.values() if column and column.lower() not in by_lower]
    if missing:
        raise ArchiveError(f"Table {name} has no column {missing[0]!r}; it has {', '.join(names[:40])}.")
    found: dict[Meaning, str] = {}
    for meaning, usual in NAMES.items():
        asked = (wanted[meaning],) if meaning in wanted else usual
        column = next((by_lower[one.lower()] for one in asked if one.lower() in by_lower), None)
        if column is not None:
            found[meaning] = column
    return found


def _rows(
    reader: Iterator[list[str]], names: list[str], columns: list[str], unreadable: list[str]
) -> Iterator[Sequence[str]]:
    """The wanted cells of each row; EcoTaxa's row of types and empty lines are left out, too short ones recorded."""
    indices = [names.index(column) for column in columns]
    for number, cells in enumerate(reader, start=2):
        if not cells or (number == 2 and all(_TYPES.fullmatch(cell.strip()) for cell in cells)):
            continue
        if len(cells) <= max(indices):
            if len(unreadable) < UNREADABLE_SHOWN:
                unreadable.append(f"row {number} has {len(cells)} cells, the header {len(names)}")
            continue
        yield [cells[index].strip() for index in indices]


def _file_key(file: str) -> str:
    return file.replace("\\", "/").rpartition("/")[2]


def _hashed(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "little")


def _lowest_of_each(objects: np.ndarray, ranks: "array[int]") -> np.ndarray:
    """True for the first row of the lowest rank of each object."""
    order = np.lexsort((np.frombuffer(ranks, np.dtype("l")), objects))
    begins = np.ones(len(objects), dtype=bool)
    begins[1:] = objects[order][1:] != objects[order][:-1]
    lowest = np.zeros(len(objects), dtype=bool)
    lowest[order[begins]] = True
    return lowest
