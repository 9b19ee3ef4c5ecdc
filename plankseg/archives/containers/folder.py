"""Entries of a folder and everything below it."""

import os
from collections.abc import Iterator
from pathlib import Path

from plankseg.archives.containers.entries import Entry, fault_of_name


class Folder:
    """A folder and all below it, one directory at a time in the order of names, so that a million files need little."""

    in_order_only = False

    def __init__(self, location: Path) -> None:
        self.location = location
        self.name = location.name

    def entries(self) -> Iterator[Entry]:
        """Every file; links to folders are not followed."""
        unreadable: list[OSError] = []
        for at, folders, files in os.walk(self.location, onerror=unreadable.append):
            folders.sort()
            for name in sorted(files):
                if (entry := self._entry(os.path.join(at, name))) is not None:  # noqa: PTH118  half the time of Path
                    yield entry
        for error in unreadable:
            yield self._without_bytes(str(error.filename), f"cannot be listed: {error.strerror}; check its rights")

    def _entry(self, path: str) -> Entry | None:
        relative = path[len(str(self.location)) :].lstrip(os.sep)
        if fault := fault_of_name(relative):
            return self._without_bytes(path, fault)
        try:
            if not os.path.isfile(path):  # noqa: PTH113
                return None
            size = os.path.getsize(path)  # noqa: PTH202
        except OSError as error:
            return self._without_bytes(path, f"cannot be read: {error.strerror}; check its rights")
        file = Path(path)
        return Entry(name=relative, size=size, open=lambda: file.open("rb"), uri=file.as_uri())

    def _without_bytes(self, path: str, fault: str) -> Entry:
        file = Path(path)
        return Entry(name=os.path.relpath(path, self.location), size=0, open=lambda: file.open("rb"), fault=fault)
