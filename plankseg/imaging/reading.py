"""Reading of image files: header, grey levels, orientation.

The pixels stay where the file has them: orientation tags (EXIF, TIFF) are ignored, because masks, areas and bounding
boxes of the archives are in file pixels. People see our own re-encoded PNG (`encode_grey`), which carries no tag, so
the browser and the mask agree.
"""

import io
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image, _imaging
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from plankseg.errors import ImageReadError, ImageTooLargeError
from plankseg.imaging.arrays import Grey
from plankseg.imaging.background import background_kind as background_kind
from plankseg.imaging.background import find_footer as find_footer

DEFAULT_MAX_PIXELS = 64_000_000

_SIGNATURES: tuple[tuple[bytes, type[ImageFile]], ...] = (
    (b"\x89PNG\r\n\x1a\n", PngImageFile),
    (b"\xff\xd8\xff", JpegImageFile),
    (b"II*\x00", TiffImageFile),
    (b"MM\x00*", TiffImageFile),
    (b"II+\x00", TiffImageFile),
    (b"MM\x00+", TiffImageFile),
)
_LOOKS_LIKE = (
    (b"GIF8", "a GIF"),
    (b"BM", "a BMP"),
    (b"RIFF", "a WebP"),
    (b"%PDF", "a PDF"),
    (b"PK\x03\x04", "a zip"),
    (b"<svg", "an SVG drawing"),
    (b"<?xml", "XML text, perhaps an SVG drawing"),
    (b"<", "HTML or XML text"),
    (b"version https://git-lfs", "a Git LFS pointer"),
)
_PILLOW_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    ArithmeticError,
    AttributeError,
    AssertionError,
    RuntimeError,
    struct.error,
)
_EIGHT_BIT_MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")
_SIXTEEN_BIT_MODES = ("I;16", "I;16B", "I;16L", "I;16N")
_MAX_SCANS = 200  # of a progressive JPEG; encoders write about ten
_MAX_SCANNED_PIXELS = 20 * DEFAULT_MAX_PIXELS  # over all scans: about six seconds
_SMALLEST_12_BIT_TOP, _LARGEST_12_BIT = 512, 4095
_STRIP_PIXELS = 2**20
# Pillow keeps pixels in blocks. glibc gives blocks above 32 MB back to the system as soon as they are free, and keeps
# smaller ones for the thread that had them: each thread that decodes would hold on to its largest image.
_imaging.set_block_size(64 * 2**20)
_NEXT_STEP = "Save it again as an 8- or 16-bit PNG, JPEG or TIFF, or take it out of the folder."


@dataclass(frozen=True)
class ImageHeader:
    """What a file says about itself: sizes in file pixels, `bits` per channel as stored."""

    format: Literal["PNG", "JPEG", "TIFF"]
    width: int
    height: int
    bits: int


def read_header(data: bytes) -> ImageHeader:
    """Format, size and bits, without decoding a pixel. Raises ImageReadError when the bytes are none of the three."""
    return _header(_open(data), data)


def read_grey(data: bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> Grey:
    """The grey image in a PNG, JPEG or TIFF: uint8 (h, w), in file pixels.

    Colour becomes luminance (ITU-R 601; with R = G = B it is that channel exactly), 16 bits are divided by 257,
    transparency is laid over white. Raises ImageTooLargeError before decoding when the header announces more than
    `max_pixels`, and ImageReadError for anything broken, empty, several pages long, in floating point or no image.
    """
    return open_image(data, max_pixels=max_pixels).decode()[0]


@dataclass(frozen=True)
class OpenedImage:
    """A file whose header was read and found within the limits; no pixel is decoded yet."""

    data: bytes
    header: ImageHeader
    image: ImageFile

    def decode(self) -> tuple[Grey, int]:
        """The grey image as `read_grey`, and how many bits its values were taken to have.

        A 16-bit file whose largest value lies between 512 and 4095 is taken for a camera's 12 bits, stored as they
        came.
        """
        return _decoded(self.image, self.data, lambda: _to_grey(self.image, self.data))


def open_image(data: bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> OpenedImage:
    """The opened file. Raises ImageTooLargeError and ImageReadError."""
    image = open_capped(data, max_pixels=max_pixels)
    return OpenedImage(data, _header(image, data), image)


def read_opacity(data: bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> UInt8[np.ndarray, "h w"] | None:
    """The opacity of a drawing on a transparent background, 0 to 255; None for a file without an alpha channel.

    Raises as `read_grey`, and ImageReadError where what is not transparent has several grey levels.
    """
    image = open_capped(data, max_pixels=max_pixels)
    if not _has_transparency(image) or image.mode in _SIXTEEN_BIT_MODES:
        return None
    return _decoded(image, data, lambda: (_opacity(image), 8))[0]


def looks_alike_in_browsers(data: bytes) -> bool:
    """True when a browser shows a file's pixels where `read_grey` has them, and as it has them.

    Not for a TIFF, a turned image, an animation, transparency, 16 bits or CMYK. Raises as `read_header`.
    """
    image = _open(data)
    if isinstance(image, TiffImageFile) or _header(image, data).bits > 8 or _has_transparency(image):
        return False
    if getattr(image, "is_animated", False) or image.mode not in ("1", "L", "P", "RGB"):
        return False
    try:
        return bool(image.getexif().get(_ORIENTATION, 1) == 1)
    except _PILLOW_ERRORS:  # what we cannot read a browser may
        return False


def open_capped(data: bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> ImageFile:
    """The opened, not yet decoded file, once its announced size is within the limit."""
    image = _open(data)
    header = _header(image, data)
    if header.width * header.height > max_pixels:
        raise ImageTooLargeError(
            f"{header.format} announces {header.width} x {header.height} pixels, more than the {max_pixels} that are"
            " decoded. Cut it into vignettes, or raise PLANKSEG_MAX_IMAGE_PIXELS."
        )
    if header.format == "JPEG":
        _require_few_scans(data, header)
    return image


def encode_grey(grey: Grey) -> bytes:
    """The image as an 8-bit grey PNG without any tag: what annotators are shown."""
    out = io.BytesIO()
    Image.fromarray(grey).save(out, "PNG")
    return out.getvalue()


# --- opening and converting -----------------------------------------------------------------------------------------
_ORIENTATION = 0x0112
_PHOTOMETRIC = 262


def _open(data: bytes) -> ImageFile:
    """The file's own reader, taken by signature: `Image.open` has a size limit of its own, which hides the size."""
    reader = next((reader for signature, reader in _SIGNATURES if data.startswith(signature)), None)
    if reader is None:
        raise ImageReadError(f"{_describe_bytes(data)} is no PNG, JPEG or TIFF. {_NEXT_STEP}")
    try:
        return reader(io.BytesIO(data))
    except _PILLOW_ERRORS as error:
        raise ImageReadError(f"{_describe_bytes(data)} has a broken header: {error}. Copy it again.") from error


def _describe_bytes(data: bytes) -> str:
    if not data:
        return "An empty file (0 bytes)"
    looks = next((f", {name}," for start, name in _LOOKS_LIKE if data.lstrip().startswith(start)), "")
    return f"A file of {len(data)} bytes{looks} beginning with {data[:12]!r}"


def _describe_image(image: ImageFile) -> str:
    return f"{image.format} {image.width} x {image.height}"


def _header(image: ImageFile, data: bytes) -> ImageHeader:
    width, height = image.size
    if isinstance(image, PngImageFile):
        header = ImageHeader("PNG", width, height, data[24])
    elif isinstance(image, TiffImageFile):
        tags = image.tag_v2  # Pillow already swaps its `size` by the orientation; the tags are the file's pixels
        header = ImageHeader("TIFF", int(tags[256]), int(tags[257]), max(tags.get(258, (1,))))
    else:
        header = ImageHeader("JPEG", width, height, 8)
    if header.width < 1 or header.height < 1:
        raise ImageReadError(f"{header.format} announces {header.width} x {header.height} pixels. {_NEXT_STEP}")
    return header


def _to_grey(image: ImageFile, data: bytes) -> tuple[Grey, int]:
    if isinstance(image, TiffImageFile) and getattr(image, "is_animated", False):
        raise ImageReadError(
            f"{_describe_image(image)} has {image.n_frames} pages and we cannot know which one. Split it."
        )
    if image.mode in _SIXTEEN_BIT_MODES:
        return _sixteen_to_eight(image, _header(image, data).bits)
    if image.mode not in _EIGHT_BIT_MODES:
        raise ImageReadError(
            f"{_describe_image(image)} has pixels of Pillow mode {image.mode!r}, without a grey range. {_NEXT_STEP}"
        )
    if image.mode == "L" and not _has_transparency(image):
        return np.array(image), 8
    grey = np.empty((image.height, image.width), np.uint8)
    for top, bottom in _strips(image):  # a colour image of 64 million pixels needs no second and third copy
        grey[top:bottom] = np.asarray(_luminance(image.crop((0, top, image.width, bottom))))
    return grey, 8


def _strips(image: ImageFile) -> Iterator[tuple[int, int]]:
    height = max(1, _STRIP_PIXELS // image.width)
    return ((top, min(top + height, image.height)) for top in range(0, image.height, height))


def _luminance(image: Image.Image) -> Image.Image:
    if _has_transparency(image):
        # White, because an object is darker than its background: laid over black, every clear pixel would be object.
        clear = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear).convert("RGB").convert("L")
    return (image.convert("RGB") if image.mode in ("P", "CMYK", "YCbCr", "RGBX") else image).convert("L")


def _has_transparency(image: Image.Image) -> bool:
    return image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info


def _opacity(image: ImageFile) -> Grey:
    """The alpha channel. Raises ImageReadError where what is not transparent has several grey levels."""
    clear = image.convert("RGBA")
    alpha = np.array(clear.getchannel("A"))
    colours = np.unique(np.array(clear.convert("RGB").convert("L"))[alpha > 0])
    if len(colours) > 1 and alpha.min() < 255:
        raise ImageReadError(
            f"{_describe_image(image)} has transparent pixels and {len(colours)} grey levels beside them, so it does "
            "not say what the object is. Save it without transparency."
        )
    return alpha


def _sixteen_to_eight(image: ImageFile, bits: int) -> tuple[Grey, int]:
    wide = np.asarray(image)
    depth = bits  # Pillow hands 12-bit TIFFs on in the same mode
    if bits == 16 and _SMALLEST_12_BIT_TOP <= int(wide.max()) <= _LARGEST_12_BIT:
        depth = 12
    full = 2**depth - 1  # 65535 = 255 * 257
    levels = np.minimum(np.arange(2**16), full)
    if isinstance(image, TiffImageFile) and image.tag_v2.get(_PHOTOMETRIC) == 0:
        levels = full - levels  # "white is zero", which Pillow turns round for 8 bits but not for 16
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        levels[clear] = full
    eight = ((levels * 255 + full // 2) // full).astype(np.uint8)
    grey = np.empty(wide.shape, np.uint8)
    for top, bottom in _strips(image):
        grey[top:bottom] = eight[wide[top:bottom]]
    return grey, depth


def _require_few_scans(data: bytes, header: ImageHeader) -> None:
    """Raise ImageReadError for a progressive JPEG that would keep the decoder busy for long."""
    scans = data.count(b"\xff\xda")
    if scans > _MAX_SCANS or (scans > 1 and scans * header.width * header.height > _MAX_SCANNED_PIXELS):
        raise ImageReadError(
            f"JPEG {header.width} x {header.height} has {scans} scans, more than a camera or a program writes. "
            f"{_NEXT_STEP}"
        )


def _decoded(
    image: ImageFile, data: bytes, convert: Callable[[], tuple[Grey, int]]
) -> tuple[UInt8[np.ndarray, "rows columns"], int]:
    """The pixels that `convert` makes of the loaded image, turned back as the file has them."""
    try:
        turned = image.getexif().get(_ORIENTATION, 1) if isinstance(image, TiffImageFile) else 1
        image.load()
        grey, depth = convert()
    except Image.DecompressionBombError as error:  # Pillow's own limit, where ours was set higher
        raise ImageTooLargeError(f"{error} Lower the image's resolution.") from error
    except ImageReadError:
        raise
    except _PILLOW_ERRORS as error:
        message = f"{_describe_image(image)} of {len(data)} bytes is broken or cut off: {error}. Copy it again."
        raise ImageReadError(message) from error
    return _turn_back(grey, turned), depth


def _turn_back(grey: Grey, orientation: int) -> UInt8[np.ndarray, "rows columns"]:
    """Undo the turn that Pillow gives a TIFF while loading it."""
    turns = {2: (0, 1), 3: (2, 0), 4: (2, 1), 5: (3, 1), 6: (1, 0), 7: (1, 1), 8: (3, 0)}
    quarters, mirrored = turns.get(orientation, (0, 0))
    turned = np.rot90(grey, quarters)
    return np.ascontiguousarray(np.fliplr(turned) if mirrored else turned)
