"""Layouts of an archive: class folders, EcoTaxa export, table of files, image and mask pairs.

A layout says what one entry is: a record, or None for a file that is no image of ours; and in the end what was missing.
Where a table's row and a file are brought together by their names, only names that fit one file are trusted.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from plankseg.archives.containers.entries import Entry
from plankseg.archives.image_names import ImageNames, image_key, mask_key
from plankseg.archives.metadata_tables import Row, Table

Layout = Literal["class_folders", "ecotaxa", "table", "pairs"]
# Folders that archives use for other things than a class: an image in one of them has no taxon.
NO_CLASS = frozenset(
    name
    for names in (
        "imgs img images image individual_images vignettes data source pool",
        "train training val valid validation test",
    )
    for name in names.split()
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """An image to be taken: its file, and what came with it. `fault` is the reason why it cannot be taken.

    `masks` reads the files that are its mask by their names.
    """

    entry: Entry
    taxon: str | None = None
    external_id: str | None = None
    area_px: float | None = None
    masks: Callable[[], list[tuple[str, bytes]]] | None = None
    fault: str | None = None


MISSING_LISTED = 10_000  # rows of a table without their file that are listed one by one


class LayoutReader(Protocol):
    """The layout of one archive: which entries are images, and what is known of them."""

    def record(self, entry: Entry) -> Record | None:
        """What an image file is; None for one to leave out silently."""
        ...

    def missing(self) -> Iterator[tuple[str, str]]:
        """After the last entry: names of images that should have been there, and what names them."""
        ...

    def notes(self) -> list[str]:
        """After the last entry: what was decided by a guess, or left out, for a person to check."""
        ...


class ClassFolders:
    """The folder that holds an image is its class, wherever the class root lies; tables of objects give areas.

    With `taxa_from_tables` only the tables say taxa: an image that none of them names has no taxon.
    """

    def __init__(self, tables: Sequence[Table], names: ImageNames, *, taxa_from_tables: bool = False) -> None:
        self._tables = tables
        self._rows = TableRows(tables, names)
        self._names = names
        self._taxa_from_tables = taxa_from_tables
        self._without_taxon: tuple[int, str] = (0, "")

    def record(self, entry: Entry) -> Record | None:
        """Every image is taken, except the masks of others."""
        key = mask_key(entry.name)
        if key is not None and self._names.count("pair", key):
            return Record(
                entry=entry,
                fault="it is the mask of another image by its name; choose the layout pairs to take both, or rename it",
            )
        rows = self._rows.of_each_table(entry)
        area = next((row.area_px for row in rows if row.area_px is not None), None)
        from_table = next((row.taxon for row in rows if row.taxon is not None), None)
        named = _class_of(entry)
        if self._taxa_from_tables:
            taxon = from_table
            if taxon is None and named is not None:
                self._without_taxon = (self._without_taxon[0] + 1, self._without_taxon[1] or entry.name)
        else:
            by_files = any(table.names_files for table in self._tables)
            taxon = from_table if by_files and from_table else named or from_table
        identity = next((row.identity for row in rows if row.identity), entry.stem)
        return Record(entry=entry, taxon=taxon, external_id=identity, area_px=area)

    def missing(self) -> Iterator[tuple[str, str]]:
        """Files that a table names and that are not there; a table of objects may cover more than there is."""
        for table in self._tables:
            if table.names_files:
                yield from _unmatched(table)
            else:
                yield from _unreadable(table)

    def notes(self) -> list[str]:
        """Images that got nothing from a table: several have their name, or no row gives them a taxon."""
        notes = self._rows.notes()
        count, first = self._without_taxon
        if count:
            notes.append(
                f"{count} images, such as {first}, have no taxon: no row of a table gives them one. Choose the layout "
                "class_folders to take their folders' names."
            )
        return notes


class EcoTaxa:
    """An EcoTaxa export: the tables say which files are objects, and of several ranks the lowest is taken."""

    def __init__(self, tables: Sequence[Table], names: ImageNames) -> None:
        self._tables = tables
        self._rows = TableRows(tables, names)
        self._higher_ranks = 0

    def record(self, entry: Entry) -> Record | None:
        """Only what a table names is an object."""
        if (row := self._rows.of(entry)) is not None:
            if not row.is_lowest_rank:
                self._higher_ranks += 1
                return None
            return Record(entry=entry, taxon=row.taxon, external_id=row.identity or entry.stem, area_px=row.area_px)
        names = ", ".join(table.name for table in self._tables[:3])
        if self._rows.is_ambiguous(entry):
            return Record(entry=entry, fault=f"several files have its name, and {names} does not say which is meant")
        return Record(
            entry=entry, fault=f"no row of {names} names it; choose the layout class_folders to take it anyway"
        )

    def missing(self) -> Iterator[tuple[str, str]]:
        """Files that a table names and that are not there."""
        for table in self._tables:
            yield from _unmatched(table)

    def notes(self) -> list[str]:
        """How many images of a higher rank were left out."""
        if not self._higher_ranks:
            return []
        return [
            f"{self._higher_ranks} images were left out because the same object has one of a lower img_rank, which is "
            "taken."
        ]


class Pairs:
    """Images and masks: two folders side by side, or `name.png` and `name_mask.png`."""

    def __init__(self, masks: dict[str, list[Entry]], names: ImageNames) -> None:
        self._masks = masks
        self._names = names
        self._paired: set[str] = set()

    def record(self, entry: Entry) -> Record | None:
        """An image with its mask; one without is rejected."""
        if mask_key(entry.name) is not None:
            return None
        key = image_key(entry.name)
        masks = self._masks.get(key)
        if masks is None:
            return Record(entry=entry, fault="no mask for it; add one of the same name or take the image out")
        self._paired.add(key)
        if self._names.count("pair", key) > 1:
            return Record(entry=entry, fault=f"several images share the mask {masks[0].name}; keep one of them")
        named = _class_of(entry)
        return Record(
            entry=entry,
            taxon=named,
            external_id=entry.stem,
            masks=lambda: [(mask.name, mask.read()) for mask in masks],
        )

    def missing(self) -> Iterator[tuple[str, str]]:
        """Masks without an image."""
        for key, masks in self._masks.items():
            if key not in self._paired:
                yield from ((mask.name, "a mask without its image") for mask in masks)

    def notes(self) -> list[str]:
        """Nothing."""
        return []


def _class_of(entry: Entry) -> str | None:
    """The folder that holds an image, where it is a class."""
    is_class = entry.folder and entry.folder.lower() not in NO_CLASS and not entry.is_cut_out
    return entry.folder if is_class else None


class TableRows:
    """The rows of some tables, found by the name of an image's file, or by its stem as an identity."""

    def __init__(self, tables: Sequence[Table], names: ImageNames) -> None:
        self._tables = tables
        self._names = names
        self._is_single = sum(table.names_files for table in tables) == 1
        self._ambiguous: list[str] = []
        self._contradicted: list[str] = []

    def of(self, entry: Entry) -> Row | None:
        """The row whose path fits best, of several the first; None where no row fits, or it fits another file too."""
        return self._best(self._tables, entry)

    def of_each_table(self, entry: Entry) -> list[Row]:
        """The row of each table that has one."""
        rows = [row for table in self._tables if (row := self._best([table], entry)) is not None]
        if not rows and self.is_ambiguous(entry):
            self._ambiguous.append(entry.name)
        return rows

    def is_ambiguous(self, entry: Entry) -> bool:
        """True when a row fits the file, but others as well."""
        return any(self._fitting(table, entry) for table in self._tables)

    def notes(self) -> list[str]:
        """Images that got nothing from a table because several have their name, and rows that contradict others."""
        notes = []
        if self._ambiguous:
            notes.append(
                f"{len(self._ambiguous)} images, such as {self._ambiguous[0]}, got no taxon or area from a table, as "
                "several files have their name and the table does not say which is meant; write paths into it."
            )
        if self._contradicted:
            notes.append(
                f"{len(self._contradicted)} images, such as {self._contradicted[0]}, are named by several rows that "
                "differ; the first row counts."
            )
        return notes

    def _best(self, tables: Sequence[Table], entry: Entry) -> Row | None:
        found = [
            (fit, -row.number, table, row)
            for table in tables
            for fit, row in self._fitting(table, entry)
            if fit > 1 or self._is_only_one(row, table, entry)
        ]
        if not found:
            return None
        fit, _, table, row = max(found, key=lambda one: one[:2])
        others = [other for same_fit, _, same_table, other in found if (same_fit, same_table) == (fit, table)]
        for other in others:
            table.was_matched[other.number] = True
        if len({(other.taxon, other.identity, other.area_px) for other in others}) > 1:
            self._contradicted.append(entry.name)
        return row

    def _fitting(self, table: Table, entry: Entry) -> list[tuple[int, Row]]:
        rows = table.rows(entry.name.rpartition("/")[2]) or table.rows(entry.stem)
        if not table.names_files:
            return [(1, row) for row in rows]
        home = table.name.rpartition("/")[0]
        fits = []
        for row in rows:
            written = row.file or row.identity
            fit = _fit(written, home, entry.name)
            if not fit and self._is_single:  # one table may lie anywhere beside its images
                fit = min(1, _fit(written, "", entry.name))
            if fit:
                fits.append((fit, row))
        return fits

    def _is_only_one(self, row: Row, table: Table, entry: Entry) -> bool:
        """True when no other image has the name that the row gives."""
        folders = row.file.replace("\\", "/").removeprefix("./").count("/")
        if table.names_files and folders and "/" in entry.name:
            return self._names.count("in_folder", f"{entry.folder}/{entry.stem}") <= 1
        if folders == 0 and "/" in table.name and "/" in entry.name:  # samples, each with its own table
            return self._names.count("in_top", f"{entry.name.partition('/')[0]}/{entry.stem}") <= 1
        return self._names.count("stem", entry.stem) <= 1


def _fit(file: str, home: str, name: str) -> int:
    """How well a table's file name fits an entry: 3 as a path from the table's folder, 2 from the top, 1 as its end.

    The table may leave out the suffix, and may name more folders than there are: those of another machine.
    """
    written = file.replace("\\", "/").removeprefix("./")
    for path in (name, name[: len(name) - len(name.rpartition("/")[2])] + name.rpartition("/")[2].rpartition(".")[0]):
        if f"{home}/{written}".lstrip("/") == path and ("/" in path or not home):
            return 3
        if written == path and "/" in path:
            return 2
        is_below = not home or path.startswith(f"{home}/")
        if is_below and (f"/{path}".endswith(f"/{written}") or f"/{written}".endswith(f"/{path}")):
            return 1
    return 0


def _unmatched(table: Table) -> Iterator[tuple[str, str]]:
    missing = (~table.was_matched).nonzero()[0]
    for number in missing[:MISSING_LISTED]:
        row = table.row(int(number))
        yield row.file or row.identity, f"{table.name} names it, but it is not there; copy it too, or take the row out"
    if len(missing) > MISSING_LISTED:
        yield table.name, f"{len(missing) - MISSING_LISTED} more of its rows name files that are not there"
    yield from _unreadable(table)


def _unreadable(table: Table) -> Iterator[tuple[str, str]]:
    for reason in table.unreadable:
        yield table.name, reason
