"""Bins of an Imaging FlowCytobot: `.adc` lists the images, `.roi` holds their grey levels, `.hdr` describes the run.

An image is called by its IFCB id: the bin's name and the number of its row in the `.adc`, from 1, in five digits. A row
without pixels is a trigger without an image. Instruments of the first kind cut some objects into two overlapping
images: these are joined under the number of the first one, as in WHOI's pyifcb and ifcb-features.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import BinaryIO

from plankseg.archives.containers.entries import Entry, fault_of_name
from plankseg.errors import ArchiveError
from plankseg.storage.objects.raw_images import Part, RawImage

SUFFIXES = (".adc", ".roi", ".hdr")
_ID = re.compile(r"D\d{8}T\d{6}_IFCB\d+|IFCB\d+_\d{4}_\d{3}_\d{6}", re.IGNORECASE)
_WANTED = ("trigger", "roix", "roiy", "roiwidth", "roiheight", "startbyte")
# Columns of an .adc whose .hdr does not name them, by the number of the row's fields.
_FIRST_KIND = {"trigger": 0, "roix": 9, "roiy": 10, "roiwidth": 11, "roiheight": 12, "startbyte": 13}
_SECOND_KIND = {"trigger": 0, "roix": 13, "roiy": 14, "roiwidth": 15, "roiheight": 16, "startbyte": 17}
_FIELDS_OF_FIRST_KIND = range(14, 17)
_LEAST_OVERLAP = 2  # columns and rows beyond which two images of one trigger overlap
_SPARE_BYTES = 64  # behind the last image of a whole .roi


@dataclass(frozen=True)
class Target:
    """A row of an `.adc`: its number from 1, its trigger, and where its image lies in the frame and in the `.roi`."""

    number: int
    trigger: int
    x: int
    y: int
    part: Part


@dataclass(frozen=True)
class BinFiles:
    """The files of one bin that are there; `name` is what they share, with the folders above it, by '/'."""

    name: str
    adc: Path | None = None
    roi: Path | None = None
    hdr: Path | None = None

    @property
    def own_name(self) -> str:
        """The bin's id, without folders."""
        return self.name.rpartition("/")[2]


class IfcbBin:
    """One bin as a container."""

    in_order_only = False

    def __init__(self, location: Path) -> None:
        """The bin of a path to one of its files, or to their name without suffix. Raises ArchiveError."""
        stem = location.name[: -len(SUFFIXES[0])] if is_part_of_bin(location.name) else location.name
        beside = {path.name: path for path in location.parent.iterdir() if path.is_file()}
        bins, _ = split_bins(name for name in beside if name.lower().startswith(f"{stem.lower()}."))
        if not bins:
            raise ArchiveError(f"{location} has no .adc and no .roi beside it; give the folder or file of a whole bin.")
        parts = {suffix[1:]: beside[name] for suffix, name in bins[0].items()}
        self._files = BinFiles(stem, **parts)
        self.location = parts.get("roi", location)
        self.name = stem
        self._entries = list(entries_of_bin(self._files))
        if all(entry.fault for entry in self._entries):
            raise ArchiveError(f"Bin {location.parent / stem}: {self._entries[0].fault}")

    def entries(self) -> Iterator[Entry]:
        """Every image, by its number."""
        yield from self._entries


def is_part_of_bin(name: str) -> bool:
    """True for a file of an IFCB bin by its suffix; a lone `.roi` of ImageJ has it too."""
    return name.lower().endswith(SUFFIXES)


def has_ifcb_id(name: str) -> bool:
    """True for a path whose file is called by an IFCB id, whatever its suffix."""
    return _ID.fullmatch(name.rpartition("/")[2].partition(".")[0]) is not None


def is_bin(location: Path) -> bool:
    """True for a file of a bin, or the name of a bin without suffix."""
    if location.suffix.lower() in SUFFIXES:
        return True
    return not location.exists() and any(location.with_name(location.name + suffix).is_file() for suffix in SUFFIXES)


def split_bins(names: Iterable[str]) -> tuple[list[dict[str, str]], list[str]]:
    """The bins among the files of one folder, each as its files by suffix, ascending; and all other files.

    Files are a bin when an `.adc` and a `.roi` share a name, or when one of the three has an IFCB id for a name.
    """
    groups: dict[str, dict[str, str]] = {}
    others: list[str] = []
    for name in sorted(names):
        if is_part_of_bin(name):
            groups.setdefault(name[: -len(SUFFIXES[0])], {})[name[-len(SUFFIXES[0]) :].lower()] = name
        else:
            others.append(name)
    bins = []
    for stem, group in groups.items():
        if {".adc", ".roi"} <= group.keys() or _ID.fullmatch(stem):
            bins.append(group)
        else:
            others += group.values()
    return bins, sorted(others)


def entries_of_bin(files: BinFiles) -> Iterator[Entry]:
    """The images of a bin; what cannot be taken has a fault, and so has a bin without any image."""
    if files.roi is None or files.adc is None:
        parts = {".adc": files.adc, ".roi": files.roi, ".hdr": files.hdr}
        missing = " and ".join(suffix for suffix in (".adc", ".roi") if parts[suffix] is None)
        there = " and ".join(suffix for suffix, path in parts.items() if path is not None)
        yield _without_bytes(files, "", f"a bin without its {missing}, only {there} is there; copy the whole bin")
        return
    if (fault := fault_of_name(files.name)) is not None:
        yield _without_bytes(files, "", fault)
        return
    try:
        size = files.roi.stat().st_size
        rows = _rows(files)
    except (OSError, ArchiveError) as error:
        yield _without_bytes(files, "", f"cannot be read: {error}")
        return
    if not rows:
        amount = "holds no image" if size <= _SPARE_BYTES else f"has {size} bytes that no row of it describes"
        yield _without_bytes(files, "", f"an empty bin: its .adc lists no trigger, and its .roi {amount}")
        return
    targets = [row for row in rows if isinstance(row, Target) and row.part.width and row.part.height]
    for number, fault in (row for row in rows if not isinstance(row, Target)):
        yield _without_bytes(files, f"_{number:05d}.png", fault)
    for number, image in _images(files, targets, is_first_kind=_is_first_kind(files)):
        end = max(part.end for part in image.parts)
        if end > size:
            fault = f"its grey levels end at byte {end}, but the .roi has {size} bytes: cut off; copy the bin again"
            yield _without_bytes(files, f"_{number:05d}.png", fault)
        else:
            yield Entry(
                name=image.name,
                size=image.size,
                open=partial(_opened, image),
                uri=image.uri,
                is_cut_out=True,
            )
    last = max((target.part.end for target in targets), default=0)
    if size - last > _SPARE_BYTES:
        yield _without_bytes(
            files,
            "",
            f"its .roi goes on for {size - last} bytes behind the last image of its .adc, which is probably "
            "cut off; copy the bin again",
        )
    elif not targets:
        yield _without_bytes(files, "", f"a bin without an image: none of its {len(rows)} triggers has one")


def _opened(image: RawImage) -> BinaryIO:
    return io.BytesIO(image.read())


def _without_bytes(files: BinFiles, ending: str, fault: str) -> Entry:
    return Entry(name=f"{files.name}{ending}", size=0, open=io.BytesIO, fault=fault, is_cut_out=True)


def _rows(files: BinFiles) -> list[Target | tuple[int, str]]:
    """The rows of an `.adc`: targets, or number and reason of one that cannot be read. Raises OSError, ArchiveError."""
    assert files.adc is not None
    text = files.adc.read_bytes().decode("utf-8", "replace")
    if "\0" in text:
        raise ArchiveError(f"{files.adc} is no table: it has NUL bytes; copy it again")
    lines = [line for line in text.splitlines() if line.strip()]
    is_cut = bool(text) and not text.endswith(("\n", "\r"))
    table = list(csv.reader(lines, skipinitialspace=True))
    if not table:
        return []
    columns = _columns(files, len(table[0]))
    found: list[Target | tuple[int, str]] = []
    for number, fields in enumerate(table, 1):
        if is_cut and number == len(table) and len(fields) < len(table[0]):
            found.append((number, "the .adc is cut off in its row; copy the bin again"))
            continue
        try:
            values = {name: _whole_number(fields[column]) for name, column in columns.items()}
            found.append(_target(number, values))
        except (ValueError, IndexError) as error:
            found.append((number, f"row {number} of its .adc cannot be read ({error}); copy the bin again"))
    return found


def _target(number: int, values: dict[str, int]) -> Target:
    width, height, at = values["roiwidth"], values["roiheight"], values["startbyte"]
    if width < 0 or height < 0 or at < 0:
        raise ValueError(f"width {width}, height {height}, start {at}")
    part = Part(at=at, width=width, height=height)
    return Target(number, values["trigger"], values["roix"], values["roiy"], part)


def _whole_number(text: str) -> int:
    value = float(text)
    if not value.is_integer():
        raise ValueError(f"{text!r} is no whole number")
    return int(value)


def _columns(files: BinFiles, fields: int) -> dict[str, int]:
    """Where the columns that we need stand: as the `.hdr` says, else by the number of fields. Raises ArchiveError."""
    named = _named_columns(files.hdr)
    if named is not None:
        columns = {name: named.index(name) for name in _WANTED if name in named}
        if len(columns) < len(_WANTED) or max(columns.values()) >= fields:
            raise ArchiveError(
                f"its .hdr names the columns {', '.join(named)}, which do not fit an .adc of {fields} fields a row"
            )
        return columns
    if fields in _FIELDS_OF_FIRST_KIND:
        return _FIRST_KIND
    if fields > max(_SECOND_KIND.values()):
        return _SECOND_KIND
    raise ArchiveError(f"its .adc has {fields} fields a row; 15 or 24 are known, and no .hdr names its columns")


def _named_columns(hdr: Path | None) -> list[str] | None:
    """The names in the header's `ADCFileFormat`, without case and signs; None without one."""
    if hdr is None:
        return None
    text = hdr.read_bytes().decode("utf-8", "replace")
    found = re.search(r"^ADCFileFormat:(.*)$", text, re.MULTILINE | re.IGNORECASE)
    if found is None:
        return None
    return [re.sub("[^a-z0-9]", "", name.lower()) for name in found[1].split(",")]


def _is_first_kind(files: BinFiles) -> bool:
    """True for an instrument that cuts objects in two: its bins are called IFCB..., and their .hdr names no columns."""
    named = _ID.fullmatch(files.own_name)
    if named is not None:
        return files.own_name.upper().startswith("IFCB")
    return _named_columns(files.hdr) is None and files.hdr is not None


def _images(files: BinFiles, targets: list[Target], *, is_first_kind: bool) -> Iterator[tuple[int, RawImage]]:
    """Number and image of each object; overlapping neighbours of one trigger are one where the instrument cut it."""
    joined_before = False
    for target, following in zip_longest(targets, targets[1:]):
        if joined_before:
            joined_before = False
            continue
        parts: tuple[Part, ...] = (target.part,)
        if is_first_kind and following is not None and _overlap(target, following):
            parts, joined_before = _joined(target, following), True
        assert files.roi is not None
        name = f"{files.name}_{target.number:05d}.png"
        yield target.number, RawImage(archive=files.roi.absolute(), name=name, parts=parts)


def _overlap(first: Target, second: Target) -> bool:
    if first.trigger != second.trigger:
        return False
    return all(
        start < other + other_length - _LEAST_OVERLAP and start + length > other + _LEAST_OVERLAP
        for start, length, other, other_length in (
            (first.x, first.part.width, second.x, second.part.width),
            (first.y, first.part.height, second.y, second.part.height),
        )
    )


def _joined(first: Target, second: Target) -> tuple[Part, ...]:
    """The parts of both, with their corners in the rectangle around them."""
    left, top = min(first.x, second.x), min(first.y, second.y)
    return tuple(
        Part(at=target.part.at, width=target.part.width, height=target.part.height, x=target.x - left, y=target.y - top)
        for target in (first, second)
    )
