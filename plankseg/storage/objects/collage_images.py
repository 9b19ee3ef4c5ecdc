"""Images that an instrument stores side by side in one large picture, cut out of it in place and given as PNG.

The address `flowcam+file:///data/run_images_000001.tif?at=401,2&size=91,180#run_00016.png` names the picture, column
and row of the corner, width and height and, for people, the image.
"""

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, unquote_to_bytes, urlsplit

from plankseg.errors import ImageReadError, ObjectCorruptError, ObjectMissingError, StoreError
from plankseg.imaging.arrays import Grey
from plankseg.storage.objects.raw_images import grey_png, png_size

SCHEME = "flowcam+file"
_PICTURES = 8  # decoded ones that are kept: neighbours lie in the same one


@dataclass(frozen=True, slots=True, kw_only=True)
class CollageImage:
    """A rectangle of a picture: its corner in column `x` and row `y`, in pixels."""

    archive: Path
    name: str
    x: int
    y: int
    width: int
    height: int

    @property
    def size(self) -> int:
        """Bytes of its PNG."""
        return png_size(self.height, self.width)

    @property
    def uri(self) -> str:
        """The address for the catalogue."""
        numbers = f"at={self.x},{self.y}&size={self.width},{self.height}"
        return f"{SCHEME}://{quote(os.fsencode(self.archive))}?{numbers}#{quote(self.name)}"

    @classmethod
    def parse(cls, uri: str) -> "CollageImage":
        """The image at an address. Raises StoreError when it is none of ours."""
        split = urlsplit(uri)
        try:
            values = parse_qs(split.query, strict_parsing=True)
            pairs = [[int(number) for number in values.pop(name)[0].split(",")] for name in ("at", "size")]
            (x, y), (width, height) = pairs
            if split.scheme != SCHEME or values or min(x, y) < 0 or min(width, height) < 1:
                raise ValueError(f"scheme {split.scheme!r}, query {split.query!r}")
            archive = Path(os.fsdecode(unquote_to_bytes(split.path)))
        except (ValueError, KeyError) as error:
            raise StoreError(f"{uri} is no address of an instrument's image ({error}); run ingest again.") from error
        return cls(archive=archive, name=unquote(split.fragment), x=x, y=y, width=width, height=height)

    def is_lost(self) -> bool:
        """True when the picture is gone."""
        return not os.path.exists(self.archive)  # noqa: PTH110  Path.exists raises where we may not look

    def read(self) -> bytes:
        """The image as PNG. Raises ObjectMissingError, ObjectCorruptError or StoreError."""
        try:
            known = self.archive.stat()
            picture = _picture((self.archive, known.st_mtime_ns, known.st_size))
        except FileNotFoundError as error:
            raise ObjectMissingError(
                f"Picture {self.archive} is not there; bring it back, or run ingest where it lies now."
            ) from error
        except OSError as error:
            raise StoreError(f"Cannot read {self.archive}: {error.strerror or error}; check its rights.") from error
        except ImageReadError as error:
            raise ObjectCorruptError(f"Picture {self.archive}: {error}") from error
        cut = picture[self.y : self.y + self.height, self.x : self.x + self.width]
        if cut.shape != (self.height, self.width):
            raise ObjectCorruptError(
                f"{self.name} ends beyond its picture {self.archive}, which has {picture.shape[1]} x "
                f"{picture.shape[0]} px: another run's, or cut off; copy it again."
            )
        return grey_png(cut)


def is_collage_image(uri: str) -> bool:
    """True for the address of a rectangle of a picture on this machine."""
    return uri.startswith(f"{SCHEME}://")


@lru_cache(maxsize=_PICTURES)
def _picture(version: tuple[Path, int, int]) -> Grey:
    """A picture in grey, by its path, time of change and size: another one once the file has changed."""
    from plankseg.imaging.reading import read_grey  # loads OpenCV, which `plankseg status` can do without

    return read_grey(version[0].read_bytes())
