"""Entries of a list of files: those that a pattern matches, that a table names, or a single image."""

import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from plankseg.archives.containers.entries import IMAGE_SUFFIXES, Entry, fault_of_name
from plankseg.archives.containers.folder import PREDICTION_MARKER
from plankseg.archives.containers.ifcb import BinFiles, entries_of_bin, is_part_of_bin, split_bins
from plankseg.archives.metadata_tables import read_table
from plankseg.errors import SettingsError

LIST_SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
_WILDCARDS = frozenset("*?[")


@dataclass
class FileList:
    """Files below one folder, in a fixed order; `table` is the table that names them, which is an entry as well."""

    location: Path
    name: str
    files: Sequence[Path]
    table: Path | None = None
    in_order_only = False

    @classmethod
    def of_pattern(cls, pattern: str) -> "FileList":
        """The files that a pattern such as `scans/**/*.png` matches, ascending. Raises SettingsError for none."""
        parts = Path(pattern).expanduser().absolute().parts
        first = next(number for number, part in enumerate(parts) if _WILDCARDS & set(part))
        root = Path(*parts[:first])
        try:
            found = sorted(path for path in root.glob(str(Path(*parts[first:]))) if path.is_file())
        except (ValueError, OSError) as error:
            raise SettingsError(f"The pattern {pattern} cannot be used: {error}; correct it.") from error
        is_masks = cache(lambda folder: (folder / PREDICTION_MARKER).is_file())
        files = [path for path in found if not any(is_masks(folder) for folder in path.parents)]
        if not files:
            raise SettingsError(f"No file matches {pattern}; check the pattern, and put it into quotation marks.")
        return cls(root, root.name, files)

    @classmethod
    def of_image(cls, path: Path) -> "FileList":
        """A single image."""
        return cls(path.parent, path.stem, [path])

    @classmethod
    def of_table(cls, path: Path) -> "FileList":
        """The files that a CSV or TSV names in a column such as `file` or `path`, from its own folder, in its order.

        Raises SettingsError where it names no files, ArchiveError where it cannot be read.
        """
        with path.open("rb") as file:
            table = read_table(path.name, file)
        if table is None or not table.names_files:
            raise SettingsError(
                f"{path} has no column that names files, such as 'file' or 'path'; add one, with paths from its folder."
            )
        named = [path.parent / table.row(number).file for number in range(len(table)) if table.row(number).file]
        files = list(dict.fromkeys(Path(os.path.normpath(file)) for file in named))
        folders = {str(path.parent), *(str(file.parent) for file in files)}
        return cls(Path(os.path.commonpath(folders)), path.name.partition(".")[0], files, path)

    def entries(self) -> Iterator[Entry]:
        """Every file; one that is missing has a fault."""
        if self.table is not None:
            yield self._entry(self.table)
        by_folder: dict[Path, list[str]] = {}
        for path in self.files:
            if is_part_of_bin(path.name):
                by_folder.setdefault(path.parent, []).append(path.name)
            else:
                yield self._entry(path)
        for folder, names in by_folder.items():
            yield from self._of_bins(folder, names)

    def _of_bins(self, folder: Path, names: list[str]) -> Iterator[Entry]:
        """The images of bins of an Imaging FlowCytobot, of which any file was named; and files that are none."""
        stems = {Path(name).stem for name in names}
        beside = [path.name for path in folder.iterdir() if path.stem in stems] if folder.is_dir() else names
        bins, others = split_bins(beside)
        for parts in bins:
            paths = {suffix[1:]: folder / name for suffix, name in parts.items()}
            first = next(iter(paths.values()))
            name = first.with_suffix("").relative_to(self.location).as_posix()
            yield from entries_of_bin(BinFiles(name, **paths))
        for other in others:
            if other in names:
                yield self._entry(folder / other)

    def _entry(self, path: Path) -> Entry:
        name = path.relative_to(self.location).as_posix()
        fault = fault_of_name(name)
        try:
            size = path.stat().st_size
            if not path.is_file():
                fault = "it is no file; only files are read"
        except OSError as error:
            size, fault = 0, fault or f"it is named, but cannot be read: {error.strerror}; copy it too, or take it out"
        if fault is not None:
            return Entry(name=name, size=0, open=io.BytesIO, fault=fault)
        return Entry(name=name, size=size, open=lambda: path.open("rb"), uri=path.as_uri())


def is_pattern(text: str) -> bool:
    """True for a text with wildcards that names nothing by itself."""
    return bool(_WILDCARDS & set(text)) and not Path(text).expanduser().exists()


def is_list(path: Path) -> bool:
    """True for a table of files by its name."""
    return path.name.lower().endswith(LIST_SUFFIXES)


def is_image(path: Path) -> bool:
    """True for an image by its name."""
    return path.name.lower().endswith(IMAGE_SUFFIXES)
