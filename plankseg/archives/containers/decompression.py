"""Decompression of gzip, xz and bzip2 as a stream that goes forward only, bounded in memory and in what comes out."""

import bz2
import io
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from plankseg.errors import ArchiveError

MAX_EXPANSION = 100  # times the compressed size; photographs expand less than twice, empty TIFFs some thirty times
ALWAYS_ALLOWED = 256 * 2**20  # bytes that any file may expand to
MAX_DICTIONARY = 256 * 2**20  # bytes of memory that an xz may ask for; `xz -9` asks for 65 MB
CHUNK = 2**16


class Decompressor(Protocol):
    """What bz2 and lzma have, and `_Gzip` imitates."""

    @property
    def eof(self) -> bool:
        """True at the end of a compressed stream."""
        ...

    @property
    def needs_input(self) -> bool:
        """False while there is output left of the input before."""
        ...

    @property
    def unused_data(self) -> bytes:
        """Input after the end of the stream."""
        ...

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """At most so many bytes more."""
        ...


class _Gzip:
    """zlib's decompressor with the interface of the others; it verifies checksum and length."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(zlib.MAX_WBITS | 16)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)


def _xz() -> Decompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_AUTO, memlimit=MAX_DICTIONARY)


_KINDS: tuple[tuple[bytes, Callable[[], Decompressor]], ...] = (
    (b"\x1f\x8b", _Gzip),
    (b"\xfd7zXZ\x00", _xz),
    (b"BZh", bz2.BZ2Decompressor),
)


def decompressor_for(start: bytes) -> Callable[[], Decompressor] | None:
    """What decompresses a file that begins with these bytes; None for one that is not compressed."""
    return next((make for magic, make in _KINDS if start.startswith(magic)), None)


def open_compressed(path: Path, make: Callable[[], Decompressor]) -> BinaryIO:
    """The file's decompressed bytes. `seek` goes forward only."""
    return cast(BinaryIO, io.BufferedReader(_Decompressed(path, make), 2**18))


class _Decompressed(io.RawIOBase):
    """One or more compressed streams behind each other, read as one."""

    def __init__(self, path: Path, make: Callable[[], Decompressor]) -> None:
        self._file = path.open("rb")
        self._make = make
        self._decompressor = make()
        self._pending = b""
        self._position = 0
        self._limit = MAX_EXPANSION * path.stat().st_size + ALWAYS_ALLOWED

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True, forward."""
        return True

    def tell(self) -> int:
        """How many bytes came out."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go forward by decompressing what lies between. Raises OSError for any other move."""
        if whence == io.SEEK_CUR:
            offset += self._position
        if whence == io.SEEK_END or offset < self._position:
            raise OSError(f"a compressed file is read forward only, not from {self._position} to {offset}")
        buffer = memoryview(bytearray(CHUNK))
        while self._position < offset and self.readinto(buffer[: offset - self._position]):
            pass
        return self._position

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        """Fill the buffer as far as one step gets. Raises EOFError, zlib.error, LZMAError, OSError, ArchiveError."""
        while True:
            if self._decompressor.eof and not self._begin_next_stream():
                return 0
            data = b""
            if self._decompressor.needs_input:
                data = self._pending or self._file.read(CHUNK)
                self._pending = b""
            out = self._decompressor.decompress(data, len(buffer))
            if out:
                break
            if not data and self._decompressor.needs_input and not self._decompressor.eof:
                raise EOFError("the compressed data end before their end mark")
        buffer[: len(out)] = out
        self._position += len(out)
        if self._position > self._limit:
            raise ArchiveError(
                f"it has expanded to {self._position} bytes, more than {MAX_EXPANSION} times its own size, as no "
                "archive of images does; unpack it yourself if this one is right"
            )
        return len(out)

    def _begin_next_stream(self) -> bool:
        """True when another stream follows, perhaps after zeros."""
        rest = self._decompressor.unused_data.lstrip(b"\0")
        while not rest:
            data = self._file.read(CHUNK)
            if not data:
                return False
            rest = data.lstrip(b"\0")
        self._decompressor, self._pending = self._make(), rest
        return True

    def close(self) -> None:
        """Close the file too."""
        self._file.close()
        super().close()
