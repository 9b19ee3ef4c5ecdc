"""Entries of a tar, plain or compressed, read as a stream and never unpacked.

A plain tar's members are read in place; their addresses are positions in the tar. A compressed one can be read in its
own order only. Headers are read one by one: `TarFile.next` keeps every header in memory and takes a tar that was cut
off between two members for a whole one.
"""

import io
import lzma
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from plankseg.archives.containers.decompression import decompressor_for, open_compressed
from plankseg.archives.containers.entries import Entry, fault_of_name, name_without_suffix, with_slashes
from plankseg.archives.containers.tar_headers import Header, read_headers
from plankseg.errors import ArchiveError
from plankseg.storage.objects.archive_members import Member

# ValueError: a number of tarfile's that is none; RecursionError: hundreds of headers without a member.
_CUT = (EOFError, tarfile.TarError, zlib.error, lzma.LZMAError, OSError, ValueError, RecursionError)
_ZSTD = b"\x28\xb5\x2f\xfd"


class Tar:
    """A tar, plain or compressed by gzip, xz or bzip2."""

    def __init__(self, location: Path) -> None:
        self.location = location
        self.name = name_without_suffix(location)
        with location.open("rb") as file:
            start = file.read(6)
        if start.startswith(_ZSTD):
            raise ArchiveError(f"{location} is compressed by zstd, which is not read; decompress it first (unzstd).")
        self._decompressor = decompressor_for(start)
        self.in_order_only = self._decompressor is not None

    def entries(self) -> Iterator[Entry]:
        """Every file. Raises ArchiveError where the tar is cut off or damaged, after its last whole member."""
        last = "its beginning"
        with self._stream() as stream:
            try:
                for member in read_headers(stream):
                    entry = self._entry(member, stream)
                    # A cut-off member would be noticed only by who reads it: look at its last byte first.
                    if entry is not None and not self.in_order_only:
                        _require_end(stream, member)
                    if entry is not None:
                        yield entry
                    last = member.name
            except _CUT as error:
                shown = last.encode("utf-8", "backslashreplace").decode()
                raise ArchiveError(
                    f"{self.location} is cut off or damaged after {shown} ({error or type(error).__name__}): what was"
                    " whole is kept. Copy or download it again and run ingest again, which adds the rest."
                ) from error

    @contextmanager
    def _stream(self) -> Iterator[BinaryIO]:
        if self._decompressor is None:
            with self.location.open("rb") as plain:
                yield plain
        else:
            with open_compressed(self.location, self._decompressor) as unpacked:
                yield unpacked

    def _entry(self, member: Header, stream: BinaryIO) -> Entry | None:
        if member.isdir():
            return None
        name, at, size = member.name.removeprefix("./"), member.offset_data, member.size
        fault = member.fault or fault_of_name(name)
        if not member.isreg() or member.issparse():
            fault = "a link, a device or a sparse file; only plain files are taken from a tar"
        if fault is not None:
            return Entry(name=name, size=size, open=io.BytesIO, fault=fault)
        name = with_slashes(name)
        if self.in_order_only:
            return Entry(name=name, size=size, open=lambda: _window(stream, at, size))
        address = Member(archive=self.location, name=name, at=at, size=size)
        return Entry(name=name, size=size, open=lambda: _part(self.location, at, size), uri=address.uri)


def _require_end(stream: BinaryIO, member: Header) -> None:
    stream.seek(member.offset_data + max(member.size, 1) - 1)
    if member.size and not stream.read(1):
        raise EOFError(f"{member.name} is not whole")


def _window(stream: BinaryIO, at: int, size: int) -> BinaryIO:
    """A member of a stream that has reached it."""
    if stream.tell() != at:
        stream.seek(at)
    return cast(BinaryIO, io.BufferedReader(_Window(stream, size)))


def _part(location: Path, at: int, size: int) -> BinaryIO:
    """A stretch of a file, through a descriptor of its own, so that threads do not disturb each other."""
    file = location.open("rb")
    file.seek(at)
    return cast(BinaryIO, io.BufferedReader(_Window(file, size, owns=True)))


class _Window(io.RawIOBase):
    """The next `size` bytes of a stream."""

    def __init__(self, stream: BinaryIO, size: int, *, owns: bool = False) -> None:
        self._stream, self._left, self._owns = stream, size, owns

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        """Fill the buffer as far as the window goes. Raises ArchiveError when the stream ends before the window."""
        wanted = min(len(buffer), self._left)
        try:
            data = self._stream.read(wanted)
        except _CUT as error:
            raise ArchiveError(f"the archive is cut off or damaged here: {error}") from error
        if wanted and not data:
            raise ArchiveError(f"the archive is cut off here: {self._left} bytes are missing")
        buffer[: len(data)] = data
        self._left -= len(data)
        return len(data)

    def close(self) -> None:
        """Close the stream too where it is the window's own."""
        if self._owns:
            self._stream.close()
        super().close()
