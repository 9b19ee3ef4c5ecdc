"""GeoJSON of outlines for QuPath and napari: one feature an image, along pixel edges, so that nothing is lost.

x goes right and y goes down, in pixels of the image, as QuPath reads them; RFC 7946's degrees do not apply. An empty
mask is a feature without geometry.
"""

import json

from plankseg.formats.coco import facts_of
from plankseg.formats.mask_record import MaskRecord
from plankseg.formats.outlines import Ring, outlines_of
from plankseg.imaging.arrays import Mask


def feature(record: MaskRecord) -> str:
    """One image's feature, as a line of JSON."""
    height, width = record.mask.shape
    size = {"path": record.path, "width": width, "height": height, "objectType": "annotation"}
    geometry = geometry_of(record.mask) if record.mask.any() else None
    return json.dumps({"type": "Feature", "geometry": geometry, "properties": size | facts_of(record)})


def geometry_of(mask: Mask) -> dict[str, object]:
    """All parts of a mask as one MultiPolygon, each with its holes."""
    parts = [[_closed(outline.outer), *map(_closed, outline.holes)] for outline in outlines_of(mask)]
    return {"type": "MultiPolygon", "coordinates": parts}


def _closed(ring: Ring) -> list[list[int]]:
    corners: list[list[int]] = ring.tolist()
    return [*corners, corners[0]]
