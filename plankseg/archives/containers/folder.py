"""Entries of a folder and everything below it."""

import io
import os
from collections.abc import Generator, Iterator
from pathlib import Path

from plankseg.archives.containers.entries import Entry, fault_of_name
from plankseg.archives.containers.flowcam import SUFFIX as RUN_SUFFIX
from plankseg.archives.containers.flowcam import entries_of_run, is_by_product, is_run
from plankseg.archives.containers.ifcb import BinFiles, entries_of_bin, split_bins
from plankseg.errors import ArchiveError
from plankseg.storage.objects.collage_images import CollageImage

PREDICTION_MARKER = ".plankseg/job.json"  # in a folder of masks that `plankseg predict` wrote


class Folder:
    """A folder and all below it, one directory at a time in the order of names, so that a million files need little."""

    in_order_only = False

    def __init__(self, location: Path) -> None:
        self.location = location
        self.name = location.name

    def entries(self) -> Iterator[Entry]:
        """Every file. Links to folders are not followed, stores and masks of ours are not read; all have a fault."""
        unreadable: list[OSError] = []
        for at, folders, files in os.walk(self.location, onerror=unreadable.append):
            yield from self._left_out(at, folders)
            bins, others = split_bins(files)
            runs = [name for name in others if name.lower().endswith(RUN_SUFFIX) and is_run(Path(at, name))]
            for run in runs:
                others = yield from self._of_run(Path(at, run), others)
            for name in others:
                yield self._entry(os.path.join(at, name))  # noqa: PTH118  half the time of Path
            for parts in bins:
                yield from self._of_bin(at, parts)
        for error in unreadable:
            yield self._without_bytes(str(error.filename), f"cannot be listed: {error.strerror}; check its rights")

    def _left_out(self, at: str, folders: list[str]) -> Iterator[Entry]:
        """Sort the folders to walk, and take out those that are not read."""
        kept = []
        for name in sorted(folders):
            path = os.path.join(at, name)  # noqa: PTH118
            if os.path.islink(path):  # noqa: PTH114
                target = os.readlink(path)  # noqa: PTH115
                yield self._without_bytes(path, f"a link to the folder {target}; ingest that folder itself, or copy it")
            elif _is_store(path):
                yield self._without_bytes(path, "a store of plankseg, whose files are no images of yours; left out")
            elif os.path.isfile(os.path.join(path, PREDICTION_MARKER)):  # noqa: PTH113, PTH118
                yield self._without_bytes(path, "masks that `plankseg predict` wrote; left out")
            else:
                kept.append(name)
        folders[:] = kept

    def _of_run(self, path: Path, names: list[str]) -> Generator[Entry, None, list[str]]:
        """The objects of a FlowCam's run; returns the files of its folder that are no part of it."""
        try:
            prefix = path.with_suffix("").relative_to(self.location).as_posix()
            entries = list(entries_of_run(path, prefix))
        except (ArchiveError, OSError) as error:
            yield self._without_bytes(str(path), str(error))
            return names
        yield from entries
        collages = {CollageImage.parse(entry.uri).archive.name for entry in entries if entry.uri is not None}
        return [name for name in names if name != path.name and not is_by_product(name, collages)]

    def _of_bin(self, at: str, parts: dict[str, str]) -> Iterator[Entry]:
        """The images of a bin of an Imaging FlowCytobot in one folder."""
        paths = {suffix[1:]: Path(at, name) for suffix, name in parts.items()}
        first = next(iter(paths.values()))
        name = first.with_suffix("").relative_to(self.location).as_posix()
        yield from entries_of_bin(BinFiles(name, **paths))

    def _entry(self, path: str) -> Entry:
        relative = path[len(str(self.location)) :].lstrip(os.sep)
        if fault := fault_of_name(relative):
            return self._without_bytes(path, fault)
        try:
            if not os.path.isfile(path):  # noqa: PTH113
                return self._without_bytes(path, _why_no_file(path))
            size = os.path.getsize(path)  # noqa: PTH202
        except OSError as error:
            return self._without_bytes(path, f"cannot be read: {error.strerror}; check its rights")
        file = Path(path)
        return Entry(name=relative, size=size, open=lambda: file.open("rb"), uri=file.as_uri())

    def _without_bytes(self, path: str, fault: str) -> Entry:
        return Entry(name=os.path.relpath(path, self.location), size=0, open=io.BytesIO, fault=fault)


def _is_store(path: str) -> bool:
    """True for a folder store: its tables and objects must not become images."""
    return all(os.path.isdir(os.path.join(path, part)) for part in ("tables/images/_delta_log", "objects"))  # noqa: PTH112, PTH118


def _why_no_file(path: str) -> str:
    if os.path.islink(path):  # noqa: PTH114
        return f"a link to {os.readlink(path)}, which is not there or no file; copy the file here"  # noqa: PTH115
    return "a pipe, a socket or a device; only files are read"
