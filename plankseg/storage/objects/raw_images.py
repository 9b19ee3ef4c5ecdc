"""Images that an instrument stores as bare grey levels, read in place and given as PNG.

The address `ifcb+file:///data/D20130526T095207_IFCB013.roi?at=1&width=96&height=45&x=0&y=0#D20130526T095207_IFCB013_00001.png`
names the file, the offset of the first grey level, the size in pixels and, for people, the image. An image that was
stored as two overlapping parts has two of each number, `x` and `y` being the corner of each part in the whole.

The PNG is not compressed: its bytes, and so the image's id, depend on the grey levels alone, not on a compressor.
"""

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, unquote_to_bytes, urlsplit

import numpy as np
from jaxtyping import Bool, UInt8

from plankseg.errors import ObjectCorruptError, ObjectMissingError, StoreError

SCHEME = "ifcb+file"
_NUMBERS = ("at", "width", "height", "x", "y")
_BLOCK = 65_535  # bytes of a stored block of deflate, at most
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A stretch of width x height grey levels from byte `at`, whose corner is column x, row y of the image."""

    at: int
    width: int
    height: int
    x: int = 0
    y: int = 0

    @property
    def end(self) -> int:
        """The offset behind its last grey level."""
        return self.at + self.width * self.height


@dataclass(frozen=True, slots=True, kw_only=True)
class RawImage:
    """An image of one part or several in a file; a later part lies over an earlier one."""

    archive: Path
    name: str
    parts: tuple[Part, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the whole."""
        return max(part.y + part.height for part in self.parts), max(part.x + part.width for part in self.parts)

    @property
    def size(self) -> int:
        """Bytes of its PNG."""
        return png_size(*self.shape)

    @property
    def uri(self) -> str:
        """The address for the catalogue."""
        numbers = "&".join(f"{name}={','.join(str(getattr(part, name)) for part in self.parts)}" for name in _NUMBERS)
        return f"{SCHEME}://{quote(os.fsencode(self.archive))}?{numbers}#{quote(self.name)}"

    @classmethod
    def parse(cls, uri: str) -> "RawImage":
        """The image at an address. Raises StoreError when it is none of ours."""
        split = urlsplit(uri)
        try:
            values = parse_qs(split.query, strict_parsing=True)
            columns = [[int(number) for number in values.pop(name)[0].split(",")] for name in _NUMBERS]
            if split.scheme != SCHEME or values or min(min(column) for column in columns) < 0:
                raise ValueError(f"scheme {split.scheme!r}, query {split.query!r}")
            rows = zip(*columns, strict=True)
            parts = tuple(Part(at=at, width=width, height=height, x=x, y=y) for at, width, height, x, y in rows)
            if any(not part.width * part.height for part in parts):
                raise ValueError("a part without a pixel")
            archive = Path(os.fsdecode(unquote_to_bytes(split.path)))
            return cls(archive=archive, name=unquote(split.fragment), parts=parts)
        except (ValueError, KeyError) as error:
            raise StoreError(f"{uri} is no address of an instrument's image ({error}); run ingest again.") from error

    def is_lost(self) -> bool:
        """True when the file is gone or too short by now."""
        try:
            return self.archive.stat().st_size < max(part.end for part in self.parts)
        except FileNotFoundError:
            return True

    def read(self) -> bytes:
        """The image as PNG. Raises ObjectMissingError, ObjectCorruptError or StoreError."""
        try:
            with self.archive.open("rb") as file:
                end = os.fstat(file.fileno()).st_size
                is_whole = all(part.end <= end for part in self.parts)  # before buffers of that size are made
                read = [self._part(file.fileno(), part) for part in self.parts] if is_whole else []
        except FileNotFoundError as error:
            raise ObjectMissingError(
                f"File {self.archive} is not there any more; bring it back, or run ingest where it lies now."
            ) from error
        except OSError as error:
            raise StoreError(f"Cannot read {self.archive}: {error.strerror or error}; check its rights.") from error
        if not read:
            raise ObjectCorruptError(
                f"{self.name} is not whole in {self.archive} any more: the file was changed or cut off. Bring the old "
                "one back, or run ingest on it again."
            )
        return grey_png(self._composed(read))

    @staticmethod
    def _part(descriptor: int, part: Part) -> UInt8[np.ndarray, "h w"]:
        data = os.pread(descriptor, part.width * part.height, part.at)
        return np.frombuffer(data, np.uint8).reshape(part.height, part.width)

    def _composed(self, read: list[UInt8[np.ndarray, "h w"]]) -> UInt8[np.ndarray, "H W"]:
        """The parts in one image; what none of them covers has the mean of the pixels at its border."""
        if len(read) == 1 and read[0].shape == self.shape:
            return read[0]
        image = np.zeros(self.shape, np.uint8)
        is_missing = np.ones(self.shape, bool)
        for part, pixels in zip(self.parts, read, strict=True):
            rows, columns = slice(part.y, part.y + part.height), slice(part.x, part.x + part.width)
            image[rows, columns] = pixels
            is_missing[rows, columns] = False
        if is_missing.any():
            image[is_missing] = round(float(image[_border_of(is_missing)].mean()))
        return image


def is_raw_image(uri: str) -> bool:
    """True for the address of an instrument's image on this machine."""
    return uri.startswith(f"{SCHEME}://")


def _border_of(missing: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """The pixels that are there and share a side with one that is missing."""
    near = np.zeros_like(missing)
    near[1:] |= missing[:-1]
    near[:-1] |= missing[1:]
    near[:, 1:] |= missing[:, :-1]
    near[:, :-1] |= missing[:, 1:]
    border: Bool[np.ndarray, "h w"] = near & ~missing
    return border


def png_size(height: int, width: int) -> int:
    """Bytes of the PNG that `grey_png` makes of an image of this shape."""
    raw = height * (width + 1)
    return len(_SIGNATURE) + 3 * 12 + 13 + 2 + 5 * max(1, -(-raw // _BLOCK)) + raw + 4


def grey_png(image: UInt8[np.ndarray, "h w"]) -> bytes:
    """An image as a PNG of 8 grey bits without compression: the same bytes wherever it is made."""
    height, width = image.shape
    rows = np.zeros((height, width + 1), np.uint8)  # the first byte of a row says that it is not filtered
    rows[:, 1:] = image
    raw = rows.tobytes()
    stream = b"\x78\x01" + b"".join(_stored_blocks(raw)) + struct.pack(">I", zlib.adler32(raw))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", stream) + _chunk(b"IEND", b"")


def _stored_blocks(raw: bytes) -> Iterator[bytes]:
    for start in range(0, max(len(raw), 1), _BLOCK):
        block = raw[start : start + _BLOCK]
        is_last = start + _BLOCK >= len(raw)
        yield struct.pack("<BHH", is_last, len(block), len(block) ^ 0xFFFF) + block


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
