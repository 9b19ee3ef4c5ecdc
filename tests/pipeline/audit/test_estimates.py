"""Intervals of an audit: textbook values, the worst for what is not known, and the truth in 93 of 100 audits."""

import numpy as np
import pytest
from scipy.stats import binomtest

from plankseg.pipeline.audit.estimates import estimate_mean, estimate_share
from plankseg.pipeline.audit.sample import draw_by_confidence


@pytest.mark.parametrize(("true", "count"), [(0, 10), (10, 10), (7, 10), (54, 60), (1, 300)])
def test_a_share_has_the_exact_interval_of_clopper_and_pearson(true: int, count: int) -> None:
    found = estimate_share([True] * true + [False] * (count - true))
    expected = binomtest(true, count).proportion_ci(0.95, method="exact")
    assert (found.value, found.low, found.high) == pytest.approx((true / count, expected.low, expected.high))


def test_a_mean_of_zeros_and_ones_has_the_same_interval() -> None:
    verdicts = [True] * 33 + [False] * 7
    share, mean = estimate_share(verdicts), estimate_mean([float(verdict) for verdict in verdicts])
    assert (mean.low, mean.high) == pytest.approx((share.low, share.high), abs=0.004)


def test_what_was_not_judged_is_the_worst_for_each_side() -> None:
    verdicts = [True, True, False, None]
    found = estimate_share(verdicts)
    assert found.value == 2 / 3
    assert found.low == estimate_share([True, True, False, False]).low
    assert found.high == estimate_share([True, True, False, True]).high
    mean = estimate_mean([0.9, 0.8, None])
    assert mean.value == pytest.approx(0.85)
    assert (mean.low, mean.high) == (estimate_mean([0.9, 0.8, 0.0]).low, estimate_mean([0.9, 0.8, 1.0]).high)
    assert (estimate_share([None, None]).value, estimate_mean([]).value) == (None, None)
    assert str(estimate_share([None])) == "unknown, 95 % confidence interval 0.000 to 1.000"


def test_where_all_masks_were_judged_nothing_is_in_doubt() -> None:
    found = estimate_share([True, False, True], is_census=True)
    assert (found.value, found.low, found.high) == (2 / 3, 2 / 3, 2 / 3)
    mean = estimate_mean([0.5, None, 0.7], is_census=True)
    assert (mean.low, mean.high) == pytest.approx((1.2 / 3, 2.2 / 3))


def test_equal_masks_still_leave_a_doubt() -> None:
    found = estimate_mean([1.0] * 60)
    assert found.low == pytest.approx(0.025 ** (1 / 60), abs=0.003)
    assert found.high == pytest.approx(1.0)


def test_the_stated_intervals_hold_the_truth_in_93_of_100_simulated_audits() -> None:
    world = np.random.default_rng(7)
    confidence = world.beta(30, 1.5, 3000)
    figures = np.clip(confidence + world.normal(0, 0.06, 3000), 0, 1) * (world.random(3000) > 0.03)
    share, mean = float((figures >= 0.9).mean()), float(figures.mean())
    held = {"share": 0, "dice": 0}
    for seed in range(200):
        drawn = figures[draw_by_confidence(list(confidence), 60, np.random.default_rng(seed))]
        stated = estimate_share(list(drawn >= 0.9))
        held["share"] += stated.low <= share <= stated.high
        stated = estimate_mean(list(drawn))
        held["dice"] += stated.low <= mean <= stated.high
    assert held["share"] >= 186, held
    assert held["dice"] >= 186, held
