"""Label Studio's JSON: the SDK's own decoder gives each mask again."""

import json

import numpy as np
import pytest

from plankseg.formats.label_studio_json import task
from tests.support.mask_records import odd_masks, record

pytestmark = pytest.mark.slow  # the SDK takes seconds to import


def test_the_sdk_reads_every_pixel_of_predictions_and_annotations() -> None:
    from label_studio_sdk.converter.brush import decode_rle

    for name, mask in odd_masks().items():
        for origin, key in (("model", "predictions"), ("corrected", "annotations")):
            read = json.loads(task(record(name, mask, origin=origin)))
            assert read["data"]["path"] == name
            assert read["data"]["image"].startswith("/data/local-files/?d=")
            (given,) = read[key]
            assert read.keys() == {"data", key}
            if not mask.any():
                assert given["result"] == []
                continue
            (region,) = given["result"]
            pixels = np.array(decode_rle(region["value"]["rle"])).reshape(*mask.shape, 4)[:, :, 3]
            assert np.array_equal(pixels > 0, mask)
            assert (region["original_height"], region["original_width"]) == mask.shape
