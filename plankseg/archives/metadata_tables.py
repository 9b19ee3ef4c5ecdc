"""Metadata tables of images: file, object id, taxon, area and rank of each row.

Comma, semicolon, tab or bar; utf-8 with or without BOM, UTF-16, else latin-1 line by line; decimal comma. Blank lines,
comments and Excel's `sep=` before the header are left out. Only the few columns that are asked for are kept: an EcoTaxa
export has 150, with people's addresses among them.
"""

import codecs
import csv
import gzip
import hashlib
import io
import re
import zipfile
import zlib
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Literal

import numpy as np

from plankseg.errors import ArchiveError

Meaning = Literal["file", "identity", "taxon", "area", "rank", "sample"]
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
    "sample": ("sample_id",),
}
MAX_LINE = 4 * 2**20
MAX_ROWS = 5_000_000  # of all tables of an archive: 150 bytes each while it is ingested
MAX_PREAMBLE = 100  # lines before the header
MAX_RANK = 1e6
ROWS_OF_A_NAME = 100
UNREADABLE_SHOWN = 100
_TYPES = re.compile(r"\[[tf]\]")
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?', re.IGNORECASE)
_COMMENTS = ("#", "%", "//")


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
        self._areas, self._ranks, keys, objects = array("d"), array("d"), array("Q"), array("Q")
        for number, cells in enumerate(rows):
            row = dict(zip(columns, cells, strict=True))
            self._texts += "\0".join((row.get("file", ""), row.get("identity", ""), row.get("taxon", ""))).encode()
            self._ends.append(len(self._texts))
            self._areas.append(as_area(row.get("area", "")))
            self._ranks.append(float(row.get("rank", "").replace(",", ".") or 0))
            keys.append(hash_of(_file_key(row.get("file", "")) or row.get("identity", "")))
            same_object = f"{row.get('sample', '')}\0{row.get('identity', '')}"
            objects.append(hash_of(same_object) if row.get("identity") else 2**63 + number)
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

    def names(self, hashes: np.ndarray) -> np.ndarray:
        """True for each hash of a file's own name, or of an identity, that some row has."""
        return np.isin(hashes, self._keys)

    def rows(self, key: str) -> list[Row]:
        """The rows of a file's own name, or of an identity: the first hundred of them."""
        wanted = np.uint64(hash_of(key))
        first = int(np.searchsorted(self._keys, wanted, sorter=self._order))
        found: list[Row] = []
        while first < len(self) and self._keys[self._order[first]] == wanted and len(found) < ROWS_OF_A_NAME:
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


def read_table(
    name: str, file: BinaryIO, *, wanted: dict[Meaning, str] | None = None, max_rows: int = MAX_ROWS
) -> Table | None:
    """The table in a file; None when it has no column that could name images.

    `wanted` names columns instead of the usual ones, '' for none. Raises ArchiveError when it cannot be read, has more
    rows than `max_rows`, or when a column that is wanted is not there.
    """
    stream = gzip.GzipFile(fileobj=file) if name.lower().endswith(".gz") else file
    try:
        lines = _lines(name, stream)
        header = _header(lines)
        names = [cell.strip() for cell in next(csv.reader([header.text], delimiter=header.delimiter), [])]
        columns = _columns(name, names, wanted or {})
        if "file" not in columns and "identity" not in columns:
            return None
        reader = _Rows(names, columns, header.number)
        rows = reader.read(csv.reader(lines, delimiter=header.delimiter))
        table = Table(name, columns, _at_most(name, rows, max_rows))
        table.unreadable = reader.faults()
    except (csv.Error, EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile) as error:
        raise ArchiveError(f"Table {name} cannot be read: {error}. Export it again as a plain CSV or TSV.") from error
    return table


def as_area(text: str) -> float:
    """A number with decimal point or comma; NaN where there is none, or none above 0."""
    try:
        value = float(text.strip().replace(",", ".") or "nan")
    except ValueError:
        return float("nan")
    return value if 0 < value < float("inf") else float("nan")


def _lines(name: str, stream: io.BufferedIOBase | BinaryIO) -> Iterator[str]:
    """The lines as text: UTF-16 where the file begins like that, else utf-8, and each line that is none as latin-1."""
    line = stream.readline(MAX_LINE)
    if (encoding := _utf16(line)) is not None:
        yield from _decoded_lines(name, line, stream, encoding)
        return
    while line:
        if len(line) == MAX_LINE:
            raise ArchiveError(f"Table {name} has a line of over {MAX_LINE} bytes; is it a table?")
        line = line.removeprefix(b"\xef\xbb\xbf").replace(b"\0", b"")
        try:
            yield line.decode("utf-8")
        except UnicodeDecodeError:
            yield line.decode("latin-1")
        line = stream.readline(MAX_LINE)


def _utf16(start: bytes) -> str | None:
    """The UTF-16 that a file is in, by its first bytes, or None."""
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16-le" if start.startswith(codecs.BOM_UTF16_LE) else "utf-16-be"
    if len(start) >= 8 and start[1:8:2] == bytes(4):
        return "utf-16-le"
    return "utf-16-be" if len(start) >= 8 and start[0:8:2] == bytes(4) else None


def _decoded_lines(name: str, start: bytes, stream: io.BufferedIOBase | BinaryIO, encoding: str) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    rest = decoder.decode(start).removeprefix("\ufeff")
    while True:
        *whole, rest = rest.split("\n")
        yield from (f"{line}\n".replace("\0", "") for line in whole)
        if len(rest) > MAX_LINE:
            raise ArchiveError(f"Table {name} has a line of over {MAX_LINE} characters; is it a table?")
        data = stream.read(2**16)
        if not data:
            break
        rest += decoder.decode(data)
    if rest:
        yield rest.replace("\0", "")


@dataclass(frozen=True)
class _Header:
    """The line that names the columns, its number in the file from 1, and what separates its cells."""

    text: str
    number: int
    delimiter: str


def _header(lines: Iterator[str]) -> _Header:
    """The first line that is not blank, a comment or Excel's `sep=;`."""
    delimiter = None
    for number, line in zip(range(1, MAX_PREAMBLE + 1), lines, strict=False):
        bare = line.strip(" \r\n")
        if separator := _SEPARATOR_LINE.fullmatch(bare):
            delimiter = separator[1]
        elif bare.strip('\t;,|" ') and not bare.startswith(_COMMENTS):
            return _Header(line, number, delimiter or max("\t;,|", key=line.count))
    return _Header("", 0, ",")


def _columns(name: str, names: list[str], wanted: dict[Meaning, str]) -> dict[Meaning, str]:
    """For each meaning the column that has it."""
    by_lower = {column.lower(): column for column in reversed(names)}
    missing = [column for column in wanted.values() if column and column.lower() not in by_lower]
    if missing:
        raise ArchiveError(f"Table {name} has no column {missing[0]!r}; it has {', '.join(names[:40])}.")
    found: dict[Meaning, str] = {}
    for meaning, usual in NAMES.items():
        asked = (wanted[meaning],) if meaning in wanted else usual
        column = next((by_lower[name.lower()] for name in asked if name.lower() in by_lower), None)
        if column is not None:
            found[meaning] = column
    return found


class _Rows:
    """The wanted cells of each row; what is wrong with a row costs that row, and is recorded."""

    def __init__(self, names: list[str], columns: dict[Meaning, str], header_number: int) -> None:
        self._width = len(names)
        self._indices = {meaning: names.index(column) for meaning, column in columns.items()}
        self._header_number = header_number
        self._faults: list[str] = []
        self._faulty = 0

    def read(self, reader: Iterator[list[str]]) -> Iterator[Sequence[str]]:
        """The cells, in the order of the columns; without empty lines and EcoTaxa's row of types."""
        first = self._header_number + 1
        least = max(self._indices.values()) + 1
        for number, cells in enumerate(reader, start=first):
            if not cells or (number == first and all(_TYPES.fullmatch(cell.strip()) for cell in cells)):
                continue
            if len(cells) < least:
                self._record(f"row {number} has {len(cells)} cells, the header {self._width}")
                continue
            wanted = {meaning: cells[index].strip() for meaning, index in self._indices.items()}
            if fault := _fault_of_row(wanted):
                self._record(f"row {number} {fault}")
                continue
            yield list(wanted.values())

    def _record(self, fault: str) -> None:
        self._faulty += 1
        if len(self._faults) < UNREADABLE_SHOWN:
            self._faults.append(fault)

    def faults(self) -> list[str]:
        """What was wrong with which row, the first hundred one by one."""
        more = self._faulty - len(self._faults)
        return [*self._faults, f"{more} more rows cannot be used"] if more else self._faults


def _fault_of_row(row: dict[Meaning, str]) -> str | None:
    if not row.get("file") and not row.get("identity"):
        return "names neither a file nor an object"
    rank = row.get("rank", "").replace(",", ".")
    try:
        is_rank = abs(float(rank or 0)) <= MAX_RANK
    except ValueError:
        is_rank = False
    return None if is_rank else f"has the rank {rank[:40]!r}, which is no number up to {MAX_RANK:.0f}"


def _at_most(name: str, rows: Iterator[Sequence[str]], count: int) -> Iterator[Sequence[str]]:
    for number, row in enumerate(rows):
        if number >= count:
            raise ArchiveError(f"Table {name} has more than the {count} rows that are read; is it the right one?")
        yield row


def _file_key(file: str) -> str:
    return file.replace("\\", "/").rpartition("/")[2]


def hash_of(key: str) -> int:
    """Eight bytes that stand for a name."""
    return int.from_bytes(hashlib.blake2b(key.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "little")


def _lowest_of_each(objects: np.ndarray, ranks: "array[float]") -> np.ndarray:
    """True for the rows of the lowest rank of each object: several where objects share an identity."""
    by_rank = np.frombuffer(ranks, np.float64)
    order = np.lexsort((by_rank, objects))
    begins = np.ones(len(objects), dtype=bool)
    begins[1:] = objects[order][1:] != objects[order][:-1]
    lowest = by_rank[order[begins]][np.cumsum(begins) - 1]
    is_lowest = np.zeros(len(objects), dtype=bool)
    is_lowest[order] = by_rank[order] == lowest
    return is_lowest
