"""ROIs of ImageJ and Fiji in one zip: outlines along pixel edges, so `Create Mask` gives each mask again, to the pixel.

A ROI is named by the path of its image; ImageJ's ROI Manager opens the zip. A mask without holes in one part is a
traced polygon, any other a composite. An empty mask has no ROI, and is the only thing that is lost.
"""

import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import roifile

from plankseg.errors import ImageReadError, MaskShapeError
from plankseg.formats.mask_record import MaskRecord
from plankseg.formats.outlines import filled, outlines_of
from plankseg.imaging.arrays import Mask

LARGEST_SIDE = 32_767  # ImageJ's corners are 16-bit
SUFFIX = ".roi"
_LONG_AGO = (1980, 1, 1, 0, 0, 0)
_MOVE, _LINE, _CLOSE = 0.0, 1.0, 4.0
_AREAS = {roifile.ROI_TYPE[name] for name in ("POLYGON", "FREEHAND", "TRACED", "RECT")}


def add_roi(archive: zipfile.ZipFile, record: MaskRecord) -> bool:
    """Add the ROI of a mask to a zip; False for an empty one. Raises MaskShapeError for one that ImageJ cannot hold."""
    if not record.mask.any():
        return False
    entry = zipfile.ZipInfo(f"{record.path}{SUFFIX}", date_time=_LONG_AGO)
    entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
    archive.writestr(entry, encode(record.mask, record.path))
    return True


def encode(mask: Mask, name: str) -> bytes:
    """A mask with an object as one ROI."""
    if max(mask.shape) > LARGEST_SIDE:
        raise MaskShapeError(f"{name} is {mask.shape[0]} x {mask.shape[1]}; ROIs go to {LARGEST_SIDE} px.")
    outlines = outlines_of(mask)
    rings = [ring for outline in outlines for ring in (outline.outer, *outline.holes)]
    corners = np.concatenate(rings)
    left, top = (int(value) for value in corners.min(axis=0))
    right, bottom = (int(value) for value in corners.max(axis=0))
    if len(rings) == 1:
        roi = roifile.ImagejRoi.frompoints(rings[0].astype(float), name=name)
        roi.roitype, roi.right, roi.bottom = roifile.ROI_TYPE.TRACED, right, bottom
        return roi.tobytes()
    path = np.array([value for ring in rings for value in _path_of(ring)], dtype=np.float32)
    roi = roifile.ImagejRoi(
        roitype=roifile.ROI_TYPE.RECT,
        name=name,
        left=left,
        top=top,
        right=right,
        bottom=bottom,
        shape_roi_size=len(path),
        multi_coordinates=path,
    )
    return roi.tobytes()


def _path_of(ring: np.ndarray) -> Iterator[float]:
    for number, (x, y) in enumerate(ring.tolist()):
        yield from (_LINE if number else _MOVE, float(x), float(y))
    yield _CLOSE


def read_rois(path: Path) -> Iterator[tuple[str, roifile.ImagejRoi]]:
    """The areas in a zip of ROIs, by the image that each one's name begins with. Raises ImageReadError.

    ImageJ names ROIs itself where a person did not (`0023-0107`); such a name is given as it is.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                if entry.filename.lower().endswith(SUFFIX):
                    yield entry.filename[: -len(SUFFIX)], roifile.ImagejRoi.frombytes(archive.read(entry))
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError) as error:
        raise ImageReadError(f"{path} cannot be read as a zip of ROIs: {error}. Save it again in ImageJ.") from error


def decode(roi: roifile.ImagejRoi, shape: tuple[int, int], *, name: str) -> Mask:
    """The mask of an area, of its image's shape. Raises ImageReadError for a line, a point, an oval or text."""
    if roi.roitype not in _AREAS:
        raise ImageReadError(f"{name}: a ROI of kind {roi.roitype.name} is no drawn area; outline the object.")
    coordinates = roi.coordinates(multi=True)
    return filled([np.asarray(ring, dtype=float) for ring in coordinates if len(ring) > 2], shape)
