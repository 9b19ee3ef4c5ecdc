"""The first mask of a box: by contrast, by probability, or an ellipse where neither says anything."""

import numpy as np

from plankseg.interactive.box_mask import box_mask
from plankseg.interactive.evidence import Evidence

WINDOW = (slice(5, 45), slice(10, 70))


def test_a_dark_body_is_outlined_by_its_contrast() -> None:
    truth = np.zeros((60, 80), bool)
    truth[15:35, 20:60] = True
    image = np.where(truth, 90, 230).astype(np.uint8)
    for probability in (None, np.zeros(truth.shape, np.float32), truth.astype(np.float32)):
        assert np.array_equal(box_mask(Evidence(image, probability, np.zeros_like(truth)), WINDOW), truth)


def test_where_contrast_finds_something_else_the_model_is_believed() -> None:
    image = np.full((60, 80), 200, np.uint8)
    image[8:12, 50:68] = 60
    probability = np.zeros((60, 80), np.float32)
    probability[20:40, 15:40] = 0.9
    found = box_mask(Evidence(image, probability, np.zeros((60, 80), bool)), WINDOW)
    assert np.array_equal(found, probability > 0.5)


def test_on_an_even_image_it_is_an_ellipse() -> None:
    found = box_mask(Evidence(np.full((60, 80), 200, np.uint8), None, np.zeros((60, 80), bool)), WINDOW)
    assert found[25, 40]
    assert not found[5, 10]
    outside = found.copy()
    outside[WINDOW] = False
    assert not outside.any()
