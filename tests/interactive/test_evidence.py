"""The distance to a mask's outline."""

import numpy as np

from plankseg.interactive.evidence import Evidence, signed_distance


def test_the_distance_is_positive_inside_and_counts_from_the_outline() -> None:
    mask = np.zeros((9, 9), bool)
    mask[3:6, 3:6] = True
    distance = signed_distance(mask)
    assert np.array_equal(distance > 0, mask)
    assert np.allclose(distance[4, [0, 2, 3, 4]], [-2.5, -0.5, 0.5, 1.5], atol=0.05)


def test_without_an_outline_it_is_finite() -> None:
    for mask in (np.zeros((4, 5), bool), np.ones((4, 5), bool)):
        evidence = Evidence(np.zeros((4, 5), np.uint8), None, mask)
        assert np.isfinite(evidence.distance).all()
        assert 1 <= evidence.depth((2, 2)) <= 9
