"""Budget curves and the tests on them, on figures made up for it."""

import pytest
from scipy import stats

from plankseg.pipeline.simulation.summary import (
    area_under,
    curve,
    holm,
    paired_tests,
    small_budget,
    summaries,
    whole,
)


def record(arm: str, seed: int, dice: list[float], **changes: object) -> dict:
    """A run with a Dice after 0, 1, 2 ... rounds, and the same effort in each round."""
    rest = {"redrawn": 10, "changed_px": 100, "clicks": 5, "taxa": 3, "commonest_share": 0.5, "feature_distance": 1.0}
    rounds = [{"round": n, "dice": value, **rest, **changes} for n, value in enumerate(dice[1:], 1)]
    return {"arm": arm, "seed": seed, "start": {"dice": dice[0]}, "rounds": rounds}


def test_the_area_is_the_mean_height_of_the_curve() -> None:
    assert area_under([0.5, 0.5, 0.5]) == pytest.approx(0.5)
    assert area_under([0.0, 1.0]) == pytest.approx(0.5)
    assert area_under([0.0, 1.0, 1.0]) == pytest.approx(0.75)
    assert curve(record("random", 0, [0.1, 0.2, 0.3])) == [0.1, 0.2, 0.3]


def test_an_arm_that_learns_faster_needs_fewer_answers_and_pixels_to_reach_random() -> None:
    records = [record("random", 0, [0.5, 0.6, 0.7, 0.8]), record("power", 0, [0.5, 0.75, 0.85, 0.9])]
    power, random = summaries(records, 20)
    assert (power.name, random.name) == ("power", "random")
    assert power.labels_to_final == pytest.approx(20 * 1.5)
    assert power.changed_to_final == pytest.approx(150)
    assert random.labels_to_final == pytest.approx(60)
    assert (power.final_dice, power.best_dice, power.redrawn) == (0.9, 0.9, 10)


def test_an_arm_that_never_reaches_random_says_so() -> None:
    records = [record("random", 0, [0.5, 0.9]), record("power", 0, [0.5, 0.8])]
    assert summaries(records, 20)[1].labels_to_final is None


def test_differences_are_paired_by_seed_and_corrected_for_the_number_of_arms() -> None:
    gains, losses = [0.04, 0.05, 0.06], [-0.001, 0.002, -0.0005]
    records = []
    for seed in range(3):
        level = 0.5 + seed / 10  # seeds differ by more than the arms
        records.append(record("stratified", seed, [level, level]))
        records.append(record("power", seed, [level, level + gains[seed]]))
        records.append(record("top-k", seed, [level, level + losses[seed]]))
    power, top_k = paired_tests(records)
    alone = stats.ttest_1samp([gain / 2 for gain in gains], 0).pvalue
    assert power.control == "stratified"
    assert power.p_area == pytest.approx(2 * alone)
    assert power.area == pytest.approx(0.025)
    assert (power.verdict, top_k.verdict) == ("better", "no difference shown")
    assert (power.clicks, power.p_clicks) == (0, 1.0)


def test_effort_is_compared_where_it_was_counted() -> None:
    clicks = {"random": 5, "power": 8}
    records = [record(arm, seed, [0.5, 0.6], clicks=clicks[arm] + seed) for arm in clicks for seed in range(3)]
    (test,) = paired_tests(records)
    assert (test.clicks, test.p_clicks) == (3, 0.0)
    uncounted = [record(arm, seed, [0.5, 0.6], clicks=None) for arm in clicks for seed in range(3)]
    (test,) = paired_tests(uncounted)
    assert (test.clicks, test.p_clicks) == (None, None)


def test_two_seeds_are_too_few_for_a_test() -> None:
    records = [record(arm, seed, [0.5, 0.6]) for arm in ("random", "power") for seed in range(2)]
    (test,) = paired_tests(records)
    assert (test.p_area, test.verdict) == (None, "too few seeds")


def test_equal_curves_are_no_difference() -> None:
    records = [record(arm, seed, [0.5, 0.6 + seed]) for arm in ("random", "power") for seed in range(3)]
    (test,) = paired_tests(records)
    assert test.verdict == "no difference shown"


def test_a_small_budget_is_that_of_the_first_three_rounds() -> None:
    early = [0.5, 0.6, 0.7, 0.8]
    records = [record("random", seed, [*early, 0.9]) for seed in range(3)]
    records += [record("power", seed, [*early, 0.95]) for seed in range(3)]
    (late,), (small,) = paired_tests(records), paired_tests(small_budget(records))
    assert (late.final_dice, late.verdict) == (pytest.approx(0.05), "better")
    assert (small.final_dice, small.verdict) == (0, "no difference shown")


def test_without_a_control_there_is_nothing_to_compare_with() -> None:
    assert paired_tests([record("power", 0, [0.5, 0.6])]) == []


def test_holm_steps_down_and_never_up_again() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([None, 0.5, 0.9]) == [None, 1.0, 1.0]
    assert holm([]) == []


def test_runs_that_ended_early_are_not_compared() -> None:
    records = [record("random", 0, [0.5, 0.6, 0.7]), record("power", 0, [0.5, 0.6])]
    assert [found["arm"] for found in whole(records, 2)] == ["random"]
