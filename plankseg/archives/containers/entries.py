"""Entries of a container: name, size, bytes, and the fault of one that must not be read."""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Protocol

from plankseg.errors import ArchiveError
from plankseg.storage.s3.addresses import Address

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
OTHER_IMAGE_SUFFIXES = (
    *(".bmp", ".gif", ".webp", ".jp2", ".j2k", ".heic", ".heif", ".avif", ".jpe", ".jfif", ".tga", ".svg", ".psd"),
    *(".pgm", ".pnm", ".ppm", ".pbm", ".dng", ".cr2", ".nef", ".raw", ".czi", ".nd2", ".lif"),
)
ARCHIVE_SUFFIXES = (".tar.gz", ".tar.xz", ".tar.bz2", ".tgz", ".txz", ".tbz2", ".tar", ".zip")
OTHER_ARCHIVE_SUFFIXES = (".7z", ".rar", ".tar.zst", ".tar.lz4")
COMPRESSED_SUFFIXES = (".gz", ".xz", ".bz2", ".zst")
MAX_NAME = 4096  # characters of a path, as on any disk
MAX_BYTES = 128 * 2**20  # of one image, by its header: what announces more is not read


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file: its name inside, with '/', its size by the header, and how to read it.

    `uri` is the address of the bytes, for any process and in any order; None: they can be read only now, so keep them.
    `fault` is the reason why it must not be read. `is_cut_out` by an instrument: the folder above it is no class.
    """

    name: str
    size: int
    open: Callable[[], BinaryIO]
    uri: str | None = None
    fault: str | None = None
    is_cut_out: bool = False

    @property
    def is_image(self) -> bool:
        """True by the name; hidden files, such as what macOS adds to archives, are none."""
        return self.name.lower().endswith(IMAGE_SUFFIXES) and not self.is_hidden

    @property
    def is_hidden(self) -> bool:
        """True when it, or a folder above it, is hidden."""
        return any(part.startswith((".", "__MACOSX")) and part not in (".", "..") for part in self.name.split("/"))

    @property
    def folder(self) -> str:
        """The name of the folder that holds it, '' at the top."""
        return self.name.rpartition("/")[0].rpartition("/")[2]

    @property
    def stem(self) -> str:
        """The file's own name without its suffix."""
        return Path(self.name).stem

    def read(self) -> bytes:
        """All its bytes. Raises ArchiveError when it has a fault, is too large or ends early; OSError."""
        if self.fault is not None:
            raise ArchiveError(self.fault)
        if self.size > MAX_BYTES:
            raise ArchiveError(
                f"its header announces {self.size} bytes, more than the {MAX_BYTES} that an image may have; left out"
            )
        with self.open() as file:
            data = file.read(self.size + 1)
        if len(data) != self.size:
            raise ArchiveError(f"{len(data)} bytes came where its header announces {self.size}; copy it again")
        return data

    def in_memory(self) -> "Entry":
        """The same with its bytes in memory, for a container that is read in its own order only."""
        if self.fault is not None or self.size > MAX_BYTES:
            return self
        data = self.read()
        return replace(self, open=lambda: io.BytesIO(data))


class Container(Protocol):
    """A folder, a tar, a zip or the keys below a prefix in a bucket; `name` is what its data set is called."""

    name: str
    in_order_only: bool
    """True when an entry can be read only until the next one is asked for."""

    @property
    def location(self) -> Path | Address:
        """Its path or address."""
        ...

    def entries(self) -> Iterator[Entry]:
        """Every file, in the container's order. Raises ArchiveError after the last whole one if the rest is missing."""
        ...


def name_without_suffix(location: Path) -> str:
    """An archive's own name without the suffixes that say what it is."""
    suffix = next((ending for ending in ARCHIVE_SUFFIXES if location.name.lower().endswith(ending)), "")
    return location.name[: len(location.name) - len(suffix)]


def fault_of_name(name: str) -> str | None:
    """Why a name of an archive's member cannot be taken, or None."""
    if any("\ud800" <= character <= "\udfff" for character in name):  # what Python makes of other encodings
        return "its name, or a folder's above it, is not valid UTF-8; rename it"
    if len(name) > MAX_NAME:
        return f"its name has {len(name)} characters, more than the {MAX_NAME} of a path; rename it"
    if name.startswith(("/", "\\")) or (len(name) > 1 and name[1] == ":"):
        return "its name begins at the root of a disk; an archive's names are relative"
    if ".." in name.replace("\\", "/").split("/"):
        return "its name leads out of the archive ('..')"
    return None


def with_slashes(name: str) -> str:
    """A member's name with '/' between its folders: programs on Windows write '\\', against the formats' rules."""
    return name.replace("\\", "/")
