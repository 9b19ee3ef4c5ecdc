"""Layouts of an archive: class folders, EcoTaxa export, table of files, image and mask pairs.

A layout says what one entry is: a record, or None for a file that is no image of ours; and in the end what was missing.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from plankseg.archives.containers.entries import Entry
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
    """An image to be taken: its file, and what came with it. `fault` is the reason why it cannot be taken."""

    entry: Entry
    taxon: str | None = None
    external_id: str | None = None
    area_px: float | None = None
    mask: Callable[[], tuple[str, bytes]] | None = None
    fault: str | None = None


class LayoutReader(Protocol):
    """The layout of one archive: which entries are images, and what is known of them."""

    def record(self, entry: Entry) -> Record | None:
        """What an image file is; None for one to leave out silently."""
        ...

    def missing(self) -> Iterator[tuple[str, str]]:
        """After the last entry: names of images that should have been there, and what names them."""
        ...


class ClassFolders:
    """The folder that holds an image is its class, wherever the class root lies; tables of objects give areas."""

    def __init__(self, tables: Sequence[Table]) -> None:
        self._tables = tables

    def record(self, entry: Entry) -> Record | None:
        """Every image is taken."""
        rows = [row for table in self._tables if (row := _row_of([table], entry)) is not None]
        area = next((row.area_px for row in rows if row.area_px is not None), None)
        from_table = next((row.taxon for row in rows if row.taxon is not None), None)
        named = None if entry.folder.lower() in NO_CLASS or not entry.folder else entry.folder
        taxon = from_table if any(table.names_files for table in self._tables) and from_table else named or from_table
        identity = next((row.identity for row in rows if row.identity), entry.stem)
        return Record(entry=entry, taxon=taxon, external_id=identity, area_px=area)

    def missing(self) -> Iterator[tuple[str, str]]:
        """Files that a table names and that are not there; a table of objects may cover more than there is."""
        for table in self._tables:
            if table.names_files:
                yield from _unmatched(table)


class EcoTaxa:
    """An EcoTaxa export: the tables say which files are objects, and of several ranks the lowest is taken."""

    def __init__(self, tables: Sequence[Table]) -> None:
        self._tables = tables

    def record(self, entry: Entry) -> Record | None:
        """Only what a table names is an object."""
        if (row := _row_of(self._tables, entry)) is not None:
            if not row.is_lowest_rank:
                return None
            return Record(entry=entry, taxon=row.taxon, external_id=row.identity or entry.stem, area_px=row.area_px)
        names = ", ".join(table.name for table in self._tables[:3])
        return Record(
            entry=entry, fault=f"no row of {names} names it; choose the layout class_folders to take it anyway"
        )

    def missing(self) -> Iterator[tuple[str, str]]:
        """Files that a table names and that are not there."""
        for table in self._tables:
            yield from _unmatched(table)


class Pairs:
    """Images and masks: two folders side by side, or `name.png` and `name_mask.png`."""

    def __init__(self, masks: dict[str, Entry]) -> None:
        self._masks = masks
        self._paired: set[str] = set()

    def record(self, entry: Entry) -> Record | None:
        """An image with its mask; one without is rejected."""
        if mask_key(entry.name) is not None:
            return None
        key = image_key(entry.name)
        named = None if entry.folder.lower() in NO_CLASS or not entry.folder else entry.folder
        mask = self._masks.get(key)
        if mask is None:
            return Record(entry=entry, fault="no mask for it; add one of the same name or take the image out")
        self._paired.add(key)
        return Record(entry=entry, taxon=named, external_id=entry.stem, mask=lambda: (mask.name, mask.read()))

    def missing(self) -> Iterator[tuple[str, str]]:
        """Masks without an image."""
        for key, mask in self._masks.items():
            if key not in self._paired:
                yield mask.name, "a mask without its image"


def mask_key(name: str) -> str | None:
    """What a mask and its image have in common, or None for a file that is no mask by its name."""
    *folders, file = name.split("/")
    stem = file.rpartition(".")[0]
    for index, folder in enumerate(folders):
        if folder.lower().startswith("mask"):
            return "/".join([*folders[:index], *folders[index + 1 :], _without_mark(stem)])
    if stem != _without_mark(stem):
        return "/".join([*folders, _without_mark(stem)])
    return None


def image_key(name: str) -> str:
    """The same for an image: its path without suffix, and without the folder that says these are images."""
    *folders, file = name.split("/")
    for index, folder in enumerate(folders):
        if folder.lower() in ("images", "image", "imgs", "img", "vignettes"):
            folders = [*folders[:index], *folders[index + 1 :]]
            break
    return "/".join([*folders, file.rpartition(".")[0]])


def _without_mark(stem: str) -> str:
    return stem[:-5] if stem.lower().endswith(("_mask", "-mask")) else stem


def _row_of(tables: Sequence[Table], entry: Entry) -> Row | None:
    """The row for a file: by its own name, of several the one whose path fits best; or by its stem as identity.

    A name alone is enough only where there is one table: samples have files of the same names.
    """
    own, fits = entry.name.rpartition("/")[2], []
    for table in tables:
        for row in table.rows(own) or table.rows(entry.stem):
            fit = _fit(row.file, table.name.rpartition("/")[0], entry.name)
            if fit or len(tables) == 1 or not table.names_files:
                fits.append((fit, -row.number, table, row))
    if not fits:
        return None
    _, _, table, row = max(fits, key=lambda one: one[:2])
    table.was_matched[row.number] = True
    return row


def _fit(file: str, home: str, name: str) -> int:
    """How well a table's file name fits an entry: 3 as a path from the table's folder, 2 from the top, 1 as its end."""
    written = file.replace("\\", "/").removeprefix("./")
    if f"{home}/{written}".lstrip("/") == name:
        return 3
    if written == name:
        return 2
    return int(f"/{name}".endswith(f"/{written}") and (not home or name.startswith(f"{home}/")))


def _unmatched(table: Table) -> Iterator[tuple[str, str]]:
    for number in (~table.was_matched).nonzero()[0]:
        row = table.row(int(number))
        yield row.file, f"{table.name} names it, but it is not there; copy it too, or take the row out"
    for reason in table.unreadable:
        yield table.name, reason
