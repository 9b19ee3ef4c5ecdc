"""Opening of an archive: its container, its layout and its image records."""

import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from plankseg.archives.containers.bucket import Bucket
from plankseg.archives.containers.entries import ARCHIVE_SUFFIXES, IMAGE_SUFFIXES, Container, Entry
from plankseg.archives.containers.folder import Folder
from plankseg.archives.containers.tarball import Tar
from plankseg.archives.containers.zipped import Zip
from plankseg.archives.layouts import ClassFolders, EcoTaxa, Layout, LayoutReader, Pairs, Record, mask_key
from plankseg.archives.metadata_tables import Meaning, Table, read_table
from plankseg.errors import ArchiveError, SettingsError
from plankseg.storage.s3.addresses import Address, is_s3

TABLE_SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
Choice = Literal["auto", "class_folders", "ecotaxa", "table", "pairs"]


@dataclass
class Survey:
    """What a first look at all names found. `damage` says where an archive ends too early."""

    images: int = 0
    others: int = 0
    tables: list[Table] = field(default_factory=list)
    masks: dict[str, Entry] = field(default_factory=dict)
    unread: list[tuple[str, str]] = field(default_factory=list)
    damage: str | None = None


class Archive:
    """A folder, tar or zip whose layout is known. `ignored` files are no images of it; `damage` says what is missing.

    `problems` are files that cannot be read, and what a table or a mask promises that is not there; complete once
    `records` is at its end.
    """

    def __init__(self, container: Container, survey: Survey, layout: Layout) -> None:
        self.location = container.location
        self.name = container.name
        self.layout = layout
        self.images = survey.images
        self.ignored = survey.others
        self.damage = survey.damage
        self.problems: list[tuple[str, str]] = list(survey.unread)
        self._container = container
        self._layout_reader: LayoutReader = _layout_reader(layout, survey)

    def records(self) -> Iterator[Record]:
        """Every image, in the archive's order; one that ends too early gives what is whole."""
        try:
            for entry in self._container.entries():
                if entry.fault is not None and not _is_worth_reporting(entry):
                    continue
                if entry.fault is not None:
                    yield Record(entry=entry, fault=entry.fault)
                elif entry.is_image:
                    yield from self._records_of(entry)
        except ArchiveError as error:
            self.damage = self.damage or str(error)  # the first look says best where it ends
        if self.damage is None:  # of an archive that ends too early, files are missing anyway
            self.problems += self._layout_reader.missing()

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
    """The archive at a path: folder, tar (plain, gz, xz, bz2) or zip; its layout is found unless it is chosen.

    `table` is one that lies elsewhere; `columns` names a table's columns where they have unusual names, '' for none.
    Reads the names and tables of the whole archive once; a compressed tar is unpacked for that, but not written.

    Raises:
        SettingsError: nothing is there, there is no image in it, or it does not have what the chosen layout needs.
        ArchiveError: it is no archive that we read, or a table in it is damaged.
    """
    container = _container(location)
    survey = _survey(container, columns)
    if table is not None:
        survey.tables = [_table_elsewhere(table, columns)]
    if not survey.images and not survey.unread:
        also = f"; {survey.damage}" if survey.damage else ""
        raise SettingsError(
            f"{container.location} has no image files ({', '.join(IMAGE_SUFFIXES)}); is it the right one?{also}"
        )
    return Archive(container, survey, _layout(container, survey, layout))


def _container(given: Path | str) -> Container:
    if is_s3(given):
        return Bucket(Address.parse(str(given)))
    location = Path(given).expanduser().resolve()
    try:
        if location.is_dir():
            return Folder(location)
        if not location.is_file():
            raise SettingsError(f"{location} is not a folder, a tar or a zip; give the one that holds the images.")
        if zipfile.is_zipfile(location) or location.suffix.lower() == ".zip":
            return Zip(location)
        container = Tar(location)
        next(container.entries(), None)
        return container
    except ArchiveError as error:
        if tarfile.is_tarfile(location) or location.name.lower().endswith(ARCHIVE_SUFFIXES):
            raise
        raise SettingsError(f"{location} is not a folder, a tar or a zip; unpack it, or give another one.") from error


def _survey(container: Container, columns: dict[Meaning, str] | None) -> Survey:
    found = Survey()
    try:
        for entry in container.entries():
            if entry.fault is not None:
                found.images += _is_worth_reporting(entry)
            elif entry.is_image:
                found.images += 1
                if (key := mask_key(entry.name)) is not None and not container.in_order_only:
                    found.masks[key] = entry
            elif entry.name.lower().endswith(TABLE_SUFFIXES) and not entry.is_hidden:
                _read_table_entry(entry, found, columns)
            else:
                found.others += 1
    except ArchiveError as error:
        found.damage = str(error)
    return found


def _read_table_entry(entry: Entry, found: Survey, columns: dict[Meaning, str] | None) -> None:
    try:
        with entry.open() as file:
            # Columns that were named are looked for in each table; one without them is another table.
            table = read_table(entry.name, file, wanted=columns)
    except (ArchiveError, OSError) as error:
        found.unread.append((entry.name, str(error)))
        return
    if table is None:
        found.others += 1
    else:
        found.tables.append(table)


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


def _layout(container: Container, survey: Survey, choice: Choice) -> Layout:
    """The layout that was chosen, once the archive has what that needs, or the one that fits."""
    is_ecotaxa = any(table.is_ecotaxa for table in survey.tables)
    names_files = any(table.names_files for table in survey.tables)
    has_pairs = 0 < len(survey.masks) < survey.images
    if choice == "auto":
        return "ecotaxa" if is_ecotaxa else "table" if names_files else "pairs" if has_pairs else "class_folders"
    if choice == "pairs" and container.in_order_only:
        raise SettingsError(f"{container.location}: pairs need a plain tar, a zip or a folder; gunzip it first.")
    lacks = {"ecotaxa": not is_ecotaxa, "table": not survey.tables, "pairs": not has_pairs}
    if lacks.get(choice):
        needs = {
            "ecotaxa": "a table with a column img_file_name",
            "table": "a CSV or TSV with a column of file names or object ids",
            "pairs": "masks: a folder 'masks' beside 'images', or files named <image>_mask",
        }
        raise SettingsError(f"{container.location} does not have what the layout {choice} needs: {needs[choice]}.")
    return choice


def _layout_reader(layout: Layout, survey: Survey) -> LayoutReader:
    if layout == "ecotaxa":
        return EcoTaxa([table for table in survey.tables if table.is_ecotaxa])
    if layout == "pairs":
        return Pairs(survey.masks)
    tables = survey.tables if layout == "table" else [table for table in survey.tables if not table.names_files]
    return ClassFolders(tables)


def _is_worth_reporting(entry: Entry) -> bool:
    """A file with a fault is reported if it would have been an image, or is a folder that cannot be listed."""
    return entry.is_image or not entry.size
