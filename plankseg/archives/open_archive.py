"""Opening of an archive: its container, its layout and its image records."""

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from plankseg.archives.containers.entries import (
    ARCHIVE_SUFFIXES,
    COMPRESSED_SUFFIXES,
    IMAGE_SUFFIXES,
    OTHER_ARCHIVE_SUFFIXES,
    OTHER_IMAGE_SUFFIXES,
    Container,
    Entry,
)
from plankseg.archives.containers.ifcb import has_ifcb_id, is_part_of_bin
from plankseg.archives.image_names import ImageNames, mask_key
from plankseg.archives.layouts import ClassFolders, EcoTaxa, Layout, LayoutReader, Pairs, Record
from plankseg.archives.metadata_tables import MAX_ROWS, Meaning, Table, hash_of, read_table
from plankseg.archives.open_container import open_container
from plankseg.errors import ArchiveError, SettingsError

TABLE_SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
TEXT_SUFFIXES = (".txt", ".tab", ".dat", ".txt.gz")  # a table by its content only
OTHER_TABLE_SUFFIXES = (".xlsx", ".xls", ".ods", ".parquet", ".feather")
FEWEST_TO_OUTVOTE = 6  # images that an export does not name, until it is taken for a stray one
MAX_PROBLEMS = 100_000  # that are listed one by one; any more are counted
Choice = Literal["auto", "class_folders", "ecotaxa", "table", "pairs"]


@dataclass
class Survey:
    """What a first reading of all names found. `damage` says where an archive ends too early."""

    images: int = 0
    others: int = 0
    names: ImageNames = field(default_factory=ImageNames)
    tables: list[Table] = field(default_factory=list)
    masks: dict[str, list[Entry]] = field(default_factory=dict)
    problems: list[tuple[str, str]] = field(default_factory=list)
    unlisted: int = 0
    damage: str | None = None

    def reject(self, name: str, reason: str) -> None:
        """Record a file that is left out; beyond a hundred thousand they are only counted."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append((name, reason))
        else:
            self.unlisted += 1

    def named_share(self) -> float:
        """The share of the images that EcoTaxa's tables name."""
        if not len(self.names):
            return 1.0
        is_named = np.zeros(len(self.names), dtype=bool)
        for table in self.tables:
            if table.is_ecotaxa:
                is_named |= table.names(self.names.hashes("own"))
        return float(is_named.mean())

    def taxon_share(self) -> float:
        """The share of the images that the tables of taxa name by their file, with or without its suffix."""
        tables = [table for table in self.tables if table.names_files and "taxon" in table.columns]
        if not tables or not len(self.names):
            return 0.0
        hashes = [self.names.hashes(part) for part in ("own", "stem")]
        return max(sum(float(table.names(part).mean()) for table in tables) for part in hashes)

    def paired_share(self) -> float:
        """The share of the images that have a mask by their names."""
        if not len(self.names) or not self.masks:
            return 0.0
        keys = np.fromiter((hash_of(key) for key in self.masks), np.uint64, len(self.masks))
        return float(np.isin(self.names.hashes("pair"), keys).mean())


class Archive:
    """A folder, tar or zip whose layout is known. `ignored` files are no images of it; `damage` says what is missing.

    `problems` are files that cannot be read, and what a table or a mask promises that is not there; complete once
    `records` is at its end, as are the `notes`: what was decided by a guess. `unlisted` problems are only counted.
    """

    def __init__(self, container: Container, survey: Survey, layout: Layout, notes: list[str]) -> None:
        self.location = container.location
        self.name = container.name
        self.layout = layout
        self.images = survey.images
        self.names = survey.names
        self.ignored = survey.others
        self.damage = survey.damage
        self.problems: list[tuple[str, str]] = list(survey.problems)
        self.unlisted = survey.unlisted
        self.notes = notes
        self.masks = [mask for masks in survey.masks.values() for mask in masks] if layout == "pairs" else []
        self._container = container
        self._layout_reader: LayoutReader = _layout_reader(layout, survey)

    def records(self) -> Iterator[Record]:
        """Every image, in the archive's order; one that ends too early gives what is whole."""
        try:
            for entry in self._container.entries():
                if entry.is_image and entry.fault is not None:
                    yield Record(entry=entry, fault=entry.fault)
                elif entry.is_image:
                    yield from self._records_of(entry)
        except ArchiveError as error:
            self.damage = self.damage or str(error)  # the first look says best where it ends
        self.notes += self._layout_reader.notes()
        if self.damage is None:  # of an archive that ends too early, files are missing anyway
            for name, reason in self._layout_reader.missing():
                if len(self.problems) < MAX_PROBLEMS:
                    self.problems.append((name, reason))
                else:
                    self.unlisted += 1

    def _records_of(self, entry: Entry) -> Iterator[Record]:
        record = self._layout_reader.record(entry)
        if record is None:
            self.ignored += 1
        elif self._container.in_order_only and record.fault is None:
            yield Record(
                entry=entry.in_memory(), taxon=record.taxon, external_id=record.external_id, area_px=record.area_px
            )
        else:
            yield record


def open_archive(
    location: Path | str,
    *,
    layout: Choice = "auto",
    table: Path | None = None,
    columns: dict[Meaning, str] | None = None,
) -> Archive:
    """The archive at a path: folder, tar (plain, gz, xz, bz2), zip, image, pattern or list of files, with its layout.

    `table` is one that lies elsewhere; `columns` names a table's columns where they have unusual names, '' for none.
    Reads the names and tables of the whole archive once; a compressed tar is unpacked for that, but not written.

    Raises:
        SettingsError: nothing is there, there is no image in it, or it does not have what the chosen layout needs.
        ArchiveError: it is no archive that we read, or a table in it is damaged.
    """
    container = open_container(location)
    survey = _survey(container, columns)
    if table is not None:
        for other in survey.tables:
            survey.reject(other.name, f"not used, because another table was handed in: {table}")
        survey.tables = [_table_elsewhere(table, columns)]
    if not survey.images:
        raise SettingsError(
            f"{container.location} has no image files ({', '.join(IMAGE_SUFFIXES)}); is it the right one?"
            + "".join(f" {name}: {reason}." for name, reason in survey.problems[:3])
            + (f" {survey.damage}" if survey.damage else "")
        )
    notes: list[str] = []
    chosen = _layout(container, survey, layout, notes)
    for other in survey.tables:
        if not _is_used(other, chosen):
            survey.reject(other.name, f"not used in the layout {chosen}; choose the layout table or ecotaxa to use it")
    return Archive(container, survey, chosen, notes)


def _survey(container: Container, columns: dict[Meaning, str] | None) -> Survey:
    found = Survey()
    try:
        for entry in container.entries():
            _survey_entry(entry, found, columns)
    except ArchiveError as error:
        found.damage = str(error)
    return found


def _survey_entry(entry: Entry, found: Survey, columns: dict[Meaning, str] | None) -> None:
    """Count an entry, and read it where it is a table."""
    name = entry.name.lower()
    if entry.fault is not None:
        if entry.is_image:
            found.images += 1
        elif _is_worth_reporting(entry):  # `records` reports those that would have been images
            found.reject(entry.name, entry.fault)
        else:
            found.others += 1
    elif entry.is_image:
        found.images += 1
        key = mask_key(entry.name)
        if key is None:
            found.names.add(entry.name)
        else:
            found.masks.setdefault(key, []).append(entry)
    elif entry.is_hidden:
        found.others += 1
    elif name.endswith(TABLE_SUFFIXES + TEXT_SUFFIXES):
        _read_table_entry(entry, found, columns)
    elif reason := _why_not_read(name):
        found.reject(entry.name, reason)
    else:
        found.others += 1


def _why_not_read(name: str) -> str | None:
    """Why a file that looks like an image, a table or an archive is left out; None for any other file."""
    suffix = name.rpartition(".")[2].upper()
    if name.endswith(OTHER_IMAGE_SUFFIXES):
        return f"an image of a kind that is not read ({suffix}); save it as PNG, JPEG or TIFF"
    if is_part_of_bin(name) and has_ifcb_id(name):
        return "a file of an IFCB bin, which is read from a folder only; unpack the bin"
    if name.endswith(OTHER_TABLE_SUFFIXES):
        return f"a table of a kind that is not read ({suffix}); save it as CSV or TSV"
    if name.endswith(ARCHIVE_SUFFIXES + OTHER_ARCHIVE_SUFFIXES):
        return "an archive inside; ingest it by itself, or unpack it here first"
    packed = next((ending for ending in COMPRESSED_SUFFIXES if name.endswith(ending)), None)
    readable = IMAGE_SUFFIXES + OTHER_IMAGE_SUFFIXES + TABLE_SUFFIXES + TEXT_SUFFIXES + OTHER_TABLE_SUFFIXES
    if packed is not None and name.removesuffix(packed).endswith(readable):
        return f"compressed by itself ({suffix}); decompress it"
    return None


def _read_table_entry(entry: Entry, found: Survey, columns: dict[Meaning, str] | None) -> None:
    """Read a table; a text file that is none is not worth a word."""
    is_text = entry.name.lower().endswith(TEXT_SUFFIXES)
    rows_left = MAX_ROWS - sum(len(table) for table in found.tables)
    try:
        with entry.open() as file:
            # Columns that were named are looked for in each table; one without them is another table.
            table = read_table(entry.name, file, wanted=columns, max_rows=rows_left)
    except (ArchiveError, OSError, zipfile.BadZipFile) as error:
        if is_text:
            found.others += 1
        else:
            found.reject(entry.name, str(error))
        return
    if table is not None and not (is_text and len(table.columns) < 2):
        found.tables.append(table)
    elif is_text:
        found.others += 1
    else:
        found.reject(
            entry.name, "a table without a column that names images, such as 'file' or 'object_id'; name its columns"
        )


def _table_elsewhere(path: Path, columns: dict[Meaning, str] | None) -> Table:
    path = path.expanduser().resolve()
    try:
        with path.open("rb") as file:
            table = read_table(path.name, file, wanted=columns)
    except OSError as error:
        raise SettingsError(f"Table {path} cannot be read: {error.strerror}; give a CSV or TSV file.") from error
    if table is None:
        raise SettingsError(f"Table {path} has no column that names images, such as 'file' or 'object_id'; name it.")
    return table


def _layout(container: Container, survey: Survey, choice: Choice, notes: list[str]) -> Layout:
    """The layout that was chosen, once the archive has what that needs, or the one that fits."""
    is_ecotaxa = any(table.is_ecotaxa for table in survey.tables)
    masks = sum(len(entries) for entries in survey.masks.values())
    if choice == "auto":
        return _guessed_layout(container, survey, notes)
    if choice == "pairs" and container.in_order_only:
        raise SettingsError(f"{container.location}: pairs need a plain tar, a zip or a folder; gunzip it first.")
    lacks = {"ecotaxa": not is_ecotaxa, "table": not survey.tables, "pairs": not 0 < masks < survey.images}
    if lacks.get(choice):
        needs = {
            "ecotaxa": "a table with a column img_file_name",
            "table": "a CSV or TSV with a column of file names or object ids",
            "pairs": "masks: a folder 'masks' beside 'images', or files named <image>_mask",
        }
        raise SettingsError(f"{container.location} does not have what the layout {choice} needs: {needs[choice]}.")
    return choice


def _guessed_layout(container: Container, survey: Survey, notes: list[str]) -> Layout:
    """The layout that most of the images agree with; a note where some files speak for another one."""
    tables = [table for table in survey.tables if table.is_ecotaxa]
    rows, images = sum(len(table) for table in tables), len(survey.names)
    if tables and (survey.named_share() >= 0.5 or rows >= images / 2 or images < FEWEST_TO_OUTVOTE):
        return "ecotaxa"
    if tables:
        notes.append(
            f"{tables[0].name} looks like an EcoTaxa export, but names {100 * survey.named_share():.0f} % of {images} "
            "images, so all were taken; choose the layout ecotaxa to take only those that it names."
        )
    if any(table.names_files for table in survey.tables):
        return "table"
    share = survey.paired_share()
    if share >= 0.5 and not container.in_order_only:
        return "pairs"
    if share:
        packed = container.in_order_only
        why = "masks cannot be read from a compressed tar" if packed else f"only {100 * share:.0f} % have one"
        notes.append(
            f"Some files are named as masks of others, but {why}, so images were taken without masks; choose the "
            "layout pairs to take only images with a mask."
        )
    return "class_folders"


def _is_used(table: Table, layout: Layout) -> bool:
    if layout == "ecotaxa":
        return table.is_ecotaxa
    return layout == "table" or (layout == "class_folders" and not table.names_files)


def _layout_reader(layout: Layout, survey: Survey) -> LayoutReader:
    tables = [table for table in survey.tables if _is_used(table, layout)]
    if layout == "ecotaxa":
        return EcoTaxa(tables, survey.names)
    if layout == "pairs":
        return Pairs(survey.masks, survey.names)
    return ClassFolders(tables, survey.names, taxa_from_tables=layout == "table" and survey.taxon_share() >= 0.5)


def _is_worth_reporting(entry: Entry) -> bool:
    """A file with a fault is reported if it looks like an image, a table or an archive, or is a folder."""
    name = entry.name.lower()
    is_known = name.endswith(IMAGE_SUFFIXES + TABLE_SUFFIXES) or _why_not_read(name) is not None
    return not entry.is_hidden and (is_known or not entry.size)
