"""Runs of a FlowCam: a `.lst` lists the objects, which lie side by side in collages, TIFF files beside it.

An image is called by the `.lst` and the object's id in five digits. Binary collages, calibration and raw images of the
run are no images of objects.
"""

import io
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

from plankseg.archives.containers.entries import Entry, fault_of_name
from plankseg.errors import ArchiveError
from plankseg.storage.objects.collage_images import CollageImage

SUFFIX = ".lst"
_WANTED = ("id", "image_x", "image_y", "image_w", "image_h", "collage_file")
_OF_A_RUN = re.compile(r"(.*_)?(cal_image|rawfile)_\d+\.tiff?$|.*_bin\.tiff?$", re.IGNORECASE)


class FlowCamRun:
    """One run as a container; `location` is its `.lst`."""

    in_order_only = False

    def __init__(self, location: Path) -> None:
        """A run by its `.lst`. Raises ArchiveError."""
        self.location = location
        self.name = location.stem
        self._entries = list(entries_of_run(location, location.stem))

    def entries(self) -> Iterator[Entry]:
        """Every object, in the list's order."""
        yield from self._entries


def is_run(path: Path) -> bool:
    """True for a file that begins as the list of a FlowCam's run does: a version, then the number of fields."""
    if path.suffix.lower() != SUFFIX or not path.is_file():
        return False
    with path.open("rb") as file:
        lines = file.read(64).splitlines()
    return len(lines) > 1 and lines[0].strip().isdigit() and lines[1].startswith(b"num-fields|")


def is_by_product(name: str, collages: set[str]) -> bool:
    """True for a file beside a run's list that shows no single object: collages and pictures of the camera."""
    return name in collages or _OF_A_RUN.fullmatch(name) is not None


def entries_of_run(path: Path, prefix: str) -> Iterator[Entry]:
    """The objects of a run, called by the prefix and their id. Raises ArchiveError for a list without its columns."""
    lines = path.read_bytes().decode("latin-1").splitlines()
    try:
        count = int(lines[1].partition("|")[2])
        names = [line.partition("|")[0] for line in lines[2 : 2 + count]]
        columns = {name: names.index(name) for name in _WANTED}
    except (IndexError, ValueError) as error:
        raise ArchiveError(
            f"{path} is no list of a FlowCam's run with the columns {', '.join(_WANTED)} ({error}); export it again."
        ) from error
    for number, line in enumerate(lines[2 + count :], 3 + count):
        if line.strip():
            yield _entry(path, prefix, number, line.split("|"), columns, fields=count)


def _entry(path: Path, prefix: str, line: int, row: list[str], columns: dict[str, int], *, fields: int) -> Entry:
    values = {name: row[column].strip() for name, column in columns.items() if column < len(row)}
    try:
        if len(row) < fields:
            raise ValueError(f"{len(row)} of {fields} fields: cut off")
        own, x, y, width, height = (int(values[name]) for name in _WANTED[:5])
        collage = values["collage_file"]
        if min(own, x, y) < 0 or min(width, height) < 1:
            raise ValueError(f"{width} x {height} px at {x}, {y}")
        if not collage or set("/\\") & set(collage) or fault_of_name(collage) is not None:
            raise ValueError(f"its collage {collage!r} is no file beside the list")
    except (ValueError, KeyError) as error:
        fault = f"line {line} of {path.name} cannot be read ({error}); export the run again"
        return Entry(name=f"{prefix}, line {line}.png", size=0, open=io.BytesIO, fault=fault, is_cut_out=True)
    name = f"{prefix}_{own:05d}.png"
    archive = (path.parent / collage).absolute()
    image = CollageImage(archive=archive, name=name, x=x, y=y, width=width, height=height)
    return Entry(name=name, size=image.size, open=partial(_opened, image), uri=image.uri, is_cut_out=True)


def _opened(image: CollageImage) -> BinaryIO:
    return io.BytesIO(image.read())
