"""Members of a tar or zip, read in place by offset and size.

The address `archive+file:///data/ZooScanNet.tar?at=1536&size=11234#imgs/Calanoida/12.jpg` names the archive's file, the
bytes' offset in it and, for people, the member. With `packed=` it is a deflated member of a zip of so many bytes.
"""

import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, unquote_to_bytes, urlsplit

from plankseg.errors import ObjectCorruptError, ObjectMissingError, StoreError

SCHEME = "archive+file"
BUCKET_SCHEME = "archive+s3"  # a tar of a store that was copied into a bucket


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A stretch of `size` bytes in an archive, `packed` bytes long where it is deflated, else stored as it is."""

    archive: Path
    name: str
    at: int
    size: int
    packed: int | None = None

    @property
    def uri(self) -> str:
        """The address for the catalogue."""
        packed = "" if self.packed is None else f"&packed={self.packed}"
        return f"{SCHEME}://{quote(os.fsencode(self.archive))}?at={self.at}&size={self.size}{packed}#{quote(self.name)}"

    @classmethod
    def parse(cls, uri: str) -> "Member":
        """The member at an address. Raises StoreError when it is none of ours."""
        parts = urlsplit(uri)
        try:
            numbers = {name: int(values[0]) for name, values in parse_qs(parts.query, strict_parsing=True).items()}
            if parts.scheme != SCHEME or not numbers.keys() <= {"at", "size", "packed"} or min(numbers.values()) < 0:
                raise ValueError(f"scheme {parts.scheme!r}, numbers {numbers}")
            archive, name = Path(os.fsdecode(unquote_to_bytes(parts.path))), unquote(parts.fragment)
            return cls(archive=archive, name=name, at=numbers["at"], size=numbers["size"], packed=numbers.get("packed"))
        except (ValueError, KeyError) as error:
            raise StoreError(f"{uri} is no address of an archive's member ({error}); run ingest again.") from error

    def is_lost(self) -> bool:
        """True when the archive is gone or too short by now."""
        try:
            return self.archive.stat().st_size < self._end
        except FileNotFoundError:
            return True

    def read(self) -> bytes:
        """The member's bytes. Raises ObjectMissingError, ObjectCorruptError or StoreError."""
        try:
            with self.archive.open("rb") as file:
                is_there = os.fstat(file.fileno()).st_size >= self._end  # before a buffer of that size is made
                stored = os.pread(file.fileno(), self._end - self.at, self.at) if is_there else b""
        except FileNotFoundError as error:
            raise ObjectMissingError(
                f"Archive {self.archive} is not there any more; bring it back, or run ingest where it lies now."
            ) from error
        except OSError as error:
            raise StoreError(f"Cannot read {self.archive}: {error.strerror or error}; check its rights.") from error
        data = stored if self.packed is None else _inflated(stored, self.size)
        if data is None or len(data) != self.size:
            raise ObjectCorruptError(
                f"{self.name} is not at byte {self.at} of {self.archive} any more: the archive was changed or cut off. "
                "Bring the old one back, or run ingest on it again."
            )
        return data

    @property
    def _end(self) -> int:
        return self.at + (self.size if self.packed is None else self.packed)


def is_member(uri: str) -> bool:
    """True for the address of an archive's member on this machine."""
    return uri.startswith(f"{SCHEME}://")


def is_bucket_member(uri: str) -> bool:
    """True for the address of a member of an archive in a bucket."""
    return uri.startswith(f"{BUCKET_SCHEME}://")


def member_name(uri: str) -> str | None:
    """The name inside of an archive, which its address has behind the `#`; None for any other address."""
    address, mark, name = uri.rpartition("#")
    return unquote(name) if mark and "?at=" in address else None


def bucket_stretch(uri: str) -> tuple[str, int, int]:
    """The archive's own s3:// address, and offset and size of the member in it."""
    archive, _, numbers = uri.removeprefix("archive+").partition("?")
    member = Member.parse(f"{SCHEME}:///archive?{numbers}")
    return archive, member.at, member.size


def _inflated(packed: bytes, size: int) -> bytes | None:
    """The inflated bytes, never more than one beyond what was announced, or None where they are damaged."""
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, size + 1)
    except zlib.error:
        return None
