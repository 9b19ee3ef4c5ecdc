"""GeoJSON: a plain reader of polygons gives each mask again, holes included."""

import json

import numpy as np

from plankseg.formats.geojson import feature
from tests.support.mask_records import by_matplotlib, odd_masks, record


def test_the_polygons_fill_the_mask() -> None:
    for name, mask in odd_masks().items():
        read = json.loads(feature(record(name, mask)))
        assert (read["type"], read["properties"]["path"], read["properties"]["origin"]) == ("Feature", name, "model")
        if not mask.any():
            assert read["geometry"] is None
            continue
        assert read["geometry"]["type"] == "MultiPolygon"
        rings = [np.array(ring) for part in read["geometry"]["coordinates"] for ring in part]
        assert all((ring[0] == ring[-1]).all() for ring in rings)
        assert np.array_equal(by_matplotlib([ring[:-1] for ring in rings], mask.shape), mask)
