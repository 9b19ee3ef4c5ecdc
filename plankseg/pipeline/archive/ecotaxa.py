"""Export format of EcoTaxa: a zip with a table in its own columns, and images without their background.

EcoTaxa's importer reads `ecotaxa*.tsv`: a row of names `<table>_<field>`, a row of types, [t] for text and [f] for
numbers, and a row per image. It takes the file for UTF-8 only when it begins with a byte order mark; wants an `_id`
beside the columns of each table, an acquisition in one sample only, a status wherever there is a category; and finds
images beside the table. Text is kept to 250 characters, ids and file names to 255, and 500 numbers and 20 texts of an
object have room. `tests/rounds/ecotaxa_rules.py` checks all of it.
"""

import csv
import io
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

from PIL import Image

from plankseg.imaging.arrays import Grey

ImageFormat = Literal["png", "jpeg"]
Value = str | float | int | bool | None

ZIP_IMAGES = 20_000
ZIP_BYTES = 450_000_000  # EcoTaxa's upload form takes 500 MB
_JPEG_QUALITY = 92
_ID_CHARACTERS = 255
_TEXT_CHARACTERS = 250
_SUFFIX_CHARACTERS = 17
_LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the same entries give the same zip, whenever it is written
# What was measured, in EcoTaxa's words; those that a length has in mm get a second column.
_LENGTHS = {
    "perimeter_px": "perim",
    "major_axis_px": "major",
    "minor_axis_px": "minor",
    "feret_px": "feret",
    "esd_px": "esd",
}
_AREAS = {"area_px": "area", "filled_area_px": "area_filled"}
_TEXTS = (
    "img_file_name",
    "object_id",
    "object_annotation_category",
    "object_annotation_status",
    "object_mask_origin",
    "object_mask_status",
    "sample_id",
    "acq_id",
    "process_id",
    "process_software",
    "process_model",
    "process_views",
    "process_particle_pixel_size_mm",
)
_OTHERS = ("width", "height", "agreement", "parts", "touches_border", "empty")
EXPECTED_DICE = "expected_dice"
"""What the confidence of the store's measures is called in tables that leave: it is the model's own, not calibrated."""


def clean_text(text: str, limit: int = _TEXT_CHARACTERS) -> str:
    """One line of printable characters without quotes, at most `limit` of them."""
    printable = "".join(letter if letter.isprintable() and letter != '"' else " " for letter in text)
    return " ".join(printable.split())[:limit].strip()


def object_ids(names: Mapping[str, str | None]) -> dict[str, str]:
    """The object_id of each image: its own name in its archive, so that EcoTaxa knows it again.

    Where several images have one name, or none, all of them get the beginning of their image_id behind it.
    """
    cleaned = {image_id: clean_text(name or "", _ID_CHARACTERS) for image_id, name in names.items()}
    counts = Counter(name.lower() for name in cleaned.values())
    return {
        image_id: name
        if name and counts[name.lower()] == 1
        else "_".join(filter(None, (name[: _ID_CHARACTERS - _SUFFIX_CHARACTERS], image_id[:16])))
        for image_id, name in cleaned.items()
    }


def object_columns(measures: Mapping[str, Value], *, pixel_size_mm: float | None) -> dict[str, Value]:
    """The measures of one image as `object_` columns, also in mm where the size of a pixel is known."""
    columns: dict[str, Value] = {f"object_{name}": measures[name] for name in _OTHERS}
    columns[f"object_{EXPECTED_DICE}"] = measures["confidence"]
    for names, power in ((_AREAS, 2), (_LENGTHS, 1)):
        for ours, theirs in names.items():
            columns[f"object_{theirs}"] = measures[ours]
            if pixel_size_mm is not None:
                unit = "mm2" if power == 2 else "mm"
                columns[f"object_{theirs}_{unit}"] = in_mm(measures[ours], pixel_size_mm, power=power)
    return columns


def in_mm(value: Value, pixel_size_mm: float, *, power: int) -> float | None:
    """A length (power 1) or an area (power 2) in pixels, in mm."""
    return None if value is None else float(value) * pixel_size_mm**power


def table_bytes(rows: Sequence[Mapping[str, Value]]) -> bytes:
    """Rows of the same columns as EcoTaxa's table: names, types, values; UTF-8 with a byte order mark.

    Raises ValueError without rows, which EcoTaxa would refuse.
    """
    if not rows:
        raise ValueError("EcoTaxa refuses a table without objects. Give at least one row.")
    out = io.StringIO()
    writer = csv.writer(out, delimiter="\t", lineterminator="\n")
    names = list(rows[0])
    writer.writerow(names)
    writer.writerow([_type_of(name) for name in names])
    writer.writerows([_written(row[name]) for name in names] for row in rows)
    return b"\xef\xbb\xbf" + out.getvalue().encode()


def _type_of(name: str) -> str:
    return "[t]" if name in _TEXTS else "[f]"


def _written(value: Value) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    return f"{value:.7g}" if isinstance(value, float) else str(value)


def image_bytes(grey: Grey, image_format: ImageFormat) -> bytes:
    """The image as EcoTaxa shows it."""
    out = io.BytesIO()
    if image_format == "png":
        Image.fromarray(grey).save(out, "PNG")
    else:
        Image.fromarray(grey).save(out, "JPEG", quality=_JPEG_QUALITY)
    return out.getvalue()


def most_bytes(width: int, height: int) -> int:
    """More than the file of an image of this size can have, whatever is on it."""
    return height * (width + 16) + 4096


def parts_of(
    sizes: Iterable[tuple[int, int]], *, max_images: int = ZIP_IMAGES, max_bytes: int = ZIP_BYTES
) -> Iterator[slice]:
    """Cut images of these sizes (width, height), in their order, into as few zips as the bounds allow."""
    start, index, total = 0, 0, 0
    for index, (width, height) in enumerate(sizes):
        more = most_bytes(width, height)
        if index > start and (index - start >= max_images or total + more > max_bytes):
            yield slice(start, index)
            start, total = index, 0
        total += more
    if total:
        yield slice(start, index + 1)


def write_entry(archive: zipfile.ZipFile, name: str, data: bytes, *, compress: bool) -> None:
    """Add a file whose entry depends on name and bytes alone."""
    entry = zipfile.ZipInfo(name, date_time=_LONG_AGO)
    entry.compress_type = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    entry.external_attr = 0o644 << 16
    entry.create_system = 3
    archive.writestr(entry, data)
