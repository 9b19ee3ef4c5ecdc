"""The record of a model: means with bounds over the images each measure is defined for, per taxon and per image."""

import json

import numpy as np
import pytest

from plankseg.errors import ScoreError
from plankseg.learning.scorecard import Measures, measure, scorecard

pytestmark = pytest.mark.slow

ONE = Measures(0.8, 0.7, 0.9, 0.5, -0.2)
TWO = Measures(0.6, 0.5, 0.7, None, 0.4)
NONE = Measures(1.0, 1.0, 1.0, None, None)


def test_two_empty_masks_agree_in_all_that_is_defined() -> None:
    empty = np.zeros((4, 4), bool)
    assert measure(empty, empty) == Measures(1.0, 1.0, 1.0, None, 0.0)
    assert measure(~empty, empty) == Measures(0.0, 0.0, 0.0, None, None)


def test_what_is_not_defined_for_an_image_is_left_out_of_the_mean_and_counted() -> None:
    means = scorecard({"a": ONE, "b": TWO, "c": NONE}, {})["means"]
    assert means["dice"]["mean"] == pytest.approx(0.8)
    assert (means["dice"]["images"], means["area_error"]["images"]) == (3, 2)
    assert means["thin_part_recall"] == {"mean": 0.5, "low": 0.5, "high": 0.5, "images": 1}
    assert means["area_error"]["mean"] == pytest.approx(0.1)
    assert means["dice"]["low"] <= means["dice"]["mean"] <= means["dice"]["high"]
    only = scorecard({"c": NONE}, {})["means"]
    assert only["thin_part_recall"] == {"mean": None, "low": None, "high": None, "images": 0}


def test_taxa_have_means_of_their_own_and_images_without_one_are_in_none() -> None:
    found = scorecard({"a": ONE, "b": TWO, "c": NONE}, {"a": "Copepoda", "b": "Copepoda", "c": None})
    assert found["taxa"] == {
        "Copepoda": {
            "images": 2,
            "dice": 0.7,
            "iou": 0.6,
            "boundary_f": 0.8,
            "thin_part_recall": 0.5,
            "area_error": 0.1,
        }
    }


def test_the_record_survives_json_and_keeps_every_image() -> None:
    found = scorecard({"a": ONE, "c": NONE}, {"a": "Copepoda"})
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["images"] == {"a": list(ONE), "c": list(NONE)}
    assert scorecard({"a": ONE, "c": NONE}, {"a": "Copepoda"}) == found


def test_no_images_are_no_judgement() -> None:
    with pytest.raises(ScoreError, match="cannot be evaluated without images"):
        scorecard({}, {})
