"""Pictures for people: outlines, heat maps, galleries with captions, strips of views."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, sqrt

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from plankseg.errors import MaskShapeError
from plankseg.imaging.arrays import Grey, Rgb

Colour = tuple[int, int, int]
Picture = UInt8[np.ndarray, "rows columns 3"]

PRE_MASK: Colour = (230, 25, 75)
CORRECTION: Colour = (0, 130, 200)
PAPER = 232  # a light grey, against which a white vignette shows its size
_INK: Colour = (30, 30, 30)
_GAP_PX = 6
_FONT_PX = 13
_LINE_PX = 20
_JPEG_QUALITIES = (88, 75)
_SMALLEST_SIDE_PX = 32


@dataclass(frozen=True)
class GalleryRow:
    """Pictures that belong together, side by side, under one caption."""

    pictures: tuple[UInt8[np.ndarray, "_ _ 3"], ...]  # of any sizes
    caption: str


def outline(
    grey: Grey, mask: Bool[np.ndarray, "mask_h mask_w"], *, colour: Colour = PRE_MASK, min_side_px: int = 240
) -> Picture:
    """The image with the mask's outline drawn on the object's own edge pixels.

    Small images are first enlarged by a whole factor, pixel for pixel, to a long side of at least `min_side_px`, so
    that the line lies between pixels one can count. An object that fills the image is framed. Raises MaskShapeError.
    """
    if grey.shape != mask.shape:
        raise MaskShapeError(f"The mask is {mask.shape} but its image is {grey.shape} (rows, columns). Make it again.")
    factor = max(1, ceil(min_side_px / max(grey.shape)))
    picture = cv2.cvtColor(_enlarged(grey, factor), cv2.COLOR_GRAY2RGB)
    large = _enlarged(mask.astype(np.uint8), factor)
    width = max(1, round(max(large.shape) / 160))  # still seen when a large picture is shrunk into a gallery
    kernel = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    inner = cv2.erode(large, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    picture[(large > 0) & (inner == 0)] = colour
    return np.asarray(picture)


def heatmap(values: Float[np.ndarray, "h w"], *, high: float | None = None) -> UInt8[np.ndarray, "h w 3"]:
    """Values from 0 (black) to `high` (yellow; the largest value when None), Inferno colours. Raises on NaN."""
    if not np.isfinite(values).all():
        raise ValueError(f"{int((~np.isfinite(values)).sum())} values of this map are not finite. Check the network.")
    top = float(values.max()) if high is None else high
    share = np.clip(values / top, 0, 1) if top > 0 else np.zeros(values.shape)
    bgr = cv2.applyColorMap(np.round(255 * share).astype(np.uint8), cv2.COLORMAP_INFERNO)
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))


def gallery(cells: Sequence[GalleryRow], *, titles: Sequence[str] = (), cell_px: int = 180, across: int = 1) -> Picture:
    """All rows on one sheet, `across` of them side by side; `titles` name the columns of pictures.

    Each picture fits a square of `cell_px`, its aspect kept. Raises ValueError when there is nothing to show.
    """
    if not cells or not any(row.pictures for row in cells):
        raise ValueError("A gallery needs at least one row with a picture; none was given.")
    columns = max(len(row.pictures) for row in cells)
    blocks = [_block(row, columns, cell_px) for row in cells]
    height, width = blocks[0].shape[:2]
    head = _LINE_PX if titles else 0
    lines = ceil(len(cells) / across)
    sheet = np.full((head + lines * height, min(across, len(cells)) * width, 3), PAPER, dtype=np.uint8)
    for index, block in enumerate(blocks):
        top, left = head + index // across * height, index % across * width
        sheet[top : top + height, left : left + width] = block
    for block_left in range(0, sheet.shape[1], width):
        for index, title in enumerate(titles[:columns]):
            _write(sheet, title, left=block_left + _GAP_PX + index * (cell_px + _GAP_PX), width=cell_px)
    return sheet


def strip(pictures: Sequence[UInt8[np.ndarray, "_ _ 3"]], captions: Sequence[str], *, cell_px: int = 180) -> Picture:
    """Pictures in one line, each under its own caption: the test-time views of one image."""
    rows = [GalleryRow((picture,), caption) for picture, caption in zip(pictures, captions, strict=True)]
    return gallery(rows, cell_px=cell_px, across=max(1, len(rows)))


def encode_rgb(rgb: Rgb) -> bytes:
    """The picture as PNG."""
    out = io.BytesIO()
    Image.fromarray(rgb).save(out, "PNG", optimize=True)
    return out.getvalue()


def encode_jpeg(rgb: Rgb) -> bytes:
    """The picture as JPEG, at the better of the usual qualities."""
    return _jpeg(rgb, _JPEG_QUALITIES[0])


def fit_under(rgb: Rgb, max_bytes: int) -> bytes:
    """The picture in at most `max_bytes`: as PNG, else as JPEG, else as a JPEG shrunk until it fits.

    In a `data_uri` it takes a third more. Raises ValueError when even a thumbnail does not fit.
    """
    png = encode_rgb(rgb)
    if len(png) <= max_bytes:
        return png
    for quality in _JPEG_QUALITIES:
        jpeg = _jpeg(rgb, quality)
        if len(jpeg) <= max_bytes:
            return jpeg
    scale = 1.0
    while True:
        scale *= float(np.clip(sqrt(max_bytes / len(jpeg)), 0.8, 0.95))  # small steps: shrinking also smooths
        size = (round(rgb.shape[1] * scale), round(rgb.shape[0] * scale))
        if max(size) < _SMALLEST_SIDE_PX or min(size) < 1:
            raise ValueError(f"A picture of {rgb.shape[:2]} cannot be shown in {max_bytes} bytes. Allow more.")
        jpeg = _jpeg(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), _JPEG_QUALITIES[-1])
        if len(jpeg) <= max_bytes:
            return jpeg


def data_uri(picture: bytes) -> str:
    """A PNG's or JPEG's bytes as an address that Markdown and HTML show without a file."""
    kind = "png" if picture.startswith(b"\x89PNG") else "jpeg" if picture.startswith(b"\xff\xd8\xff") else None
    if kind is None:
        raise ValueError(f"Bytes beginning with {picture[:8]!r} are no PNG or JPEG. Encode the picture first.")
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode('ascii')}"


def _jpeg(rgb: Rgb, quality: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(rgb)).save(out, "JPEG", quality=quality, optimize=True)
    return out.getvalue()


def _enlarged(pixels: UInt8[np.ndarray, "h w"], factor: int) -> UInt8[np.ndarray, "rows columns"]:
    return pixels.repeat(factor, axis=0).repeat(factor, axis=1)


def _block(row: GalleryRow, columns: int, cell_px: int) -> Picture:
    """One row: its caption and its pictures, on paper as wide as the widest row."""
    width = columns * (cell_px + _GAP_PX) + _GAP_PX
    block = np.full((_LINE_PX + cell_px + _GAP_PX, width, 3), PAPER, dtype=np.uint8)
    for index, picture in enumerate(row.pictures):
        fitted = _fitted(picture, cell_px)
        top = _LINE_PX + (cell_px - fitted.shape[0]) // 2
        left = _GAP_PX + index * (cell_px + _GAP_PX) + (cell_px - fitted.shape[1]) // 2
        block[top : top + fitted.shape[0], left : left + fitted.shape[1]] = fitted
    _write(block, row.caption, left=_GAP_PX, width=width - 2 * _GAP_PX)
    return block


def _fitted(picture: Rgb, cell_px: int) -> Picture:
    scale = cell_px / max(picture.shape[:2])
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(picture, size, interpolation=method))


def _write(sheet: Picture, text: str, *, left: int, width: int) -> None:
    """Write one line at the top of `sheet`, in place, cut with an ellipsis where it is too long."""
    font = ImageFont.load_default(_FONT_PX)
    line = " ".join(text.split())
    if font.getlength(line) > width:
        while line and font.getlength(line + "…") > width:
            line = line[:-1]
        line += "…"
    label = Image.new("RGB", (width, _LINE_PX), (PAPER, PAPER, PAPER))
    ImageDraw.Draw(label).text((0, _LINE_PX / 2), line, fill=_INK, font=font, anchor="lm")
    sheet[:_LINE_PX, left : left + width] = np.asarray(label)
