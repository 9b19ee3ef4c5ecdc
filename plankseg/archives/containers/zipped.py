"""Entries of a zip, read without unpacking."""

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from plankseg.archives.containers.entries import MAX_BYTES, Entry, fault_of_name, name_without_suffix, with_slashes
from plankseg.errors import ArchiveError
from plankseg.storage.objects.archive_members import Member

_LOCAL_HEADER = struct.Struct("<4s22xHH")  # its last two fields say how long name and extra field are
_ENCRYPTED = 0x1
_LINK = 0o120000


class Zip:
    """A zip of stored or deflated members; its table of contents is at the end, so a cut-off one is refused whole."""

    in_order_only = False

    def __init__(self, location: Path) -> None:
        self.location = location
        self.name = name_without_suffix(location)
        try:
            with zipfile.ZipFile(location) as archive:
                self._members = archive.infolist()
        except UnicodeDecodeError as error:
            raise ArchiveError(
                f"{location} has a name that is not in the encoding that the zip says ({error.reason}), so its table "
                "of contents cannot be read. Pack it again; nothing of it was taken."
            ) from error
        except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError, struct.error) as error:
            raise ArchiveError(
                f"{location} is no whole zip ({error}); a zip's table of contents is at its end, so it is probably cut "
                "off. Copy or download it again; nothing of it was taken."
            ) from error

    def entries(self) -> Iterator[Entry]:
        """Every file, in the order of the table of contents."""
        overlapping = _overlapping(self._members)
        with self.location.open("rb") as file:
            for member in self._members:
                if not member.filename.endswith(("/", "\\")):
                    fault = "it lies within another member; the zip is damaged" if id(member) in overlapping else None
                    yield self._entry(member, file, fault or _fault(member))

    def _entry(self, member: zipfile.ZipInfo, file: BinaryIO, fault: str | None) -> Entry:
        size, packed = member.file_size, member.compress_size
        if fault is None:
            head = os.pread(file.fileno(), _LOCAL_HEADER.size, member.header_offset)
            if len(head) != _LOCAL_HEADER.size or not head.startswith(b"PK\x03\x04"):
                fault = "the zip's table of contents names a position where it is not; copy the zip again"
        if fault is not None:
            return Entry(name=member.filename, size=size, open=io.BytesIO, fault=fault)
        _, name_bytes, extra_bytes = _LOCAL_HEADER.unpack(head)
        is_deflated = member.compress_type == zipfile.ZIP_DEFLATED
        name = with_slashes(member.filename)
        address = Member(
            archive=self.location,
            name=name,
            at=member.header_offset + _LOCAL_HEADER.size + name_bytes + extra_bytes,
            size=size,
            packed=packed if is_deflated else None,
        )
        return Entry(name=name, size=size, open=self._opener(member, address), uri=address.uri)

    def _opener(self, member: zipfile.ZipInfo, address: Member) -> Callable[[], BinaryIO]:
        def read() -> BinaryIO:
            if member.file_size > MAX_BYTES:  # a large table: unpacked in pieces
                return _Streamed(self.location, member)
            data = address.read()
            if zlib.crc32(data) != member.CRC:
                raise ArchiveError("its bytes do not have the checksum that the zip gives; copy the zip again")
            return io.BytesIO(data)

        return read


class _Streamed(io.BufferedReader):
    """A member that is unpacked while it is read; closes the zip with itself."""

    def __init__(self, location: Path, member: zipfile.ZipInfo) -> None:
        self._archive = zipfile.ZipFile(location)
        super().__init__(self._archive.open(member))  # type: ignore[arg-type]

    def close(self) -> None:
        """Close member and zip."""
        super().close()
        self._archive.close()


def _overlapping(members: list[zipfile.ZipInfo]) -> set[int]:
    """The `id` of each member that begins within another one: a few bytes could pose as millions of images."""
    overlapping: set[int] = set()
    end = 0
    for member in sorted(members, key=lambda one: one.header_offset):
        if member.header_offset < end:
            overlapping.add(id(member))
        end = max(end, member.header_offset + _LOCAL_HEADER.size + member.compress_size)
    return overlapping


def _fault(member: zipfile.ZipInfo) -> str | None:
    if member.flag_bits & _ENCRYPTED:
        return "it is encrypted; save the archive without a password"
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"its compression (method {member.compress_type}) is not read; save the archive with ordinary deflate"
    if (member.external_attr >> 16) & 0o170000 == _LINK:
        return "a link; only plain files are taken from a zip"
    return fault_of_name(member.filename)
