"""Choices that look at more than one score: what each of them prefers."""

from collections import Counter

import numpy as np
import pytest

from plankseg.acquisition.diversity import (
    PoolFacts,
    core_set_batch,
    power_keys,
    power_of,
    spread_batch,
    typical_batch,
)
from plankseg.acquisition.selectors import PoolScores, draw_rng, most_to_score, select
from plankseg.config import QueryConfig
from plankseg.errors import ScoreError, SettingsError

IDS = [f"i{n:03d}" for n in range(120)]
SCORES = {image_id: (n + 1) / 120 for n, image_id in enumerate(IDS)}
TAXA = {image_id: "egg" if n < 100 else "salp" if n < 110 else "naupl" for n, image_id in enumerate(IDS)}


def top(keys: dict[str, float], count: int) -> list[str]:
    return sorted(keys, key=lambda image_id: -keys[image_id])[:count]


def test_a_higher_power_prefers_the_uncertain_and_none_prefers_nobody() -> None:
    means = []
    for power in (0.0, 1.0, 10.0, 1000.0):
        draws = [top(power_keys(SCORES, power, np.random.default_rng(seed)), 10) for seed in range(200)]
        means.append(np.mean([SCORES[image_id] for draw in draws for image_id in draw]))
    assert means[0] == pytest.approx(np.mean(list(SCORES.values())), abs=0.02)
    assert means == sorted(means)
    assert top(power_keys(SCORES, 1e6, np.random.default_rng(0)), 10) == top(SCORES, 10)


def test_with_power_one_images_are_drawn_in_proportion_to_their_score() -> None:
    scores = {"a": 1.0, "b": 2.0, "c": 5.0}
    firsts = Counter(top(power_keys(scores, 1.0, np.random.default_rng(seed)), 1)[0] for seed in range(4000))
    assert [firsts[name] / 4000 for name in scores] == pytest.approx([1 / 8, 2 / 8, 5 / 8], abs=0.03)


def test_scores_of_zero_can_be_drawn_and_negative_ones_are_refused() -> None:
    keys = power_keys({"a": 0.0, "b": 0.0}, 1.0, np.random.default_rng(0))
    assert np.isfinite(list(keys.values())).all()
    with pytest.raises(ScoreError, match="below 0, the first of image b"):
        power_keys({"a": 0.5, "b": -0.5}, 1.0, np.random.default_rng(0))


def test_the_power_rises_from_the_first_to_the_last_of_its_rounds_and_stays() -> None:
    query = QueryConfig(power_rounds=3)
    assert [power_of(query, n) for n in (1, 2, 3, 4)] == pytest.approx([1, 10, 100, 100])
    assert [power_of(QueryConfig(power_start=0, power_rounds=3), n) for n in (1, 2, 3)] == pytest.approx([0, 50, 100])
    assert power_of(QueryConfig(power_rounds=1), 1) == 1


def test_a_spread_batch_holds_the_best_of_each_stratum_and_then_the_best_of_all() -> None:
    batch = spread_batch(SCORES, TAXA, batch_size=9, share=2 / 3, rng=np.random.default_rng(0))
    assert Counter(TAXA[image_id] for image_id in batch[:6]) == {"egg": 2, "salp": 2, "naupl": 2}
    assert {"i099", "i098", "i109", "i108", "i119", "i118"} == set(batch[:6])
    assert batch[6:] == ("i117", "i116", "i115")


def test_an_empty_stratum_leaves_its_turn_to_the_others() -> None:
    strata = {image_id: "rare" if image_id == "i000" else "common" for image_id in IDS}
    batch = spread_batch(SCORES, strata, batch_size=5, share=1.0, rng=np.random.default_rng(1))
    assert Counter(strata[image_id] for image_id in batch) == {"rare": 1, "common": 4}
    assert len(spread_batch(SCORES, strata, batch_size=500, share=1.0, rng=np.random.default_rng(1))) == len(IDS)


def clumps() -> PoolFacts:
    """Four clumps of 30 images around the corners of a square: ten close together in the middle, twenty far out."""
    rng = np.random.default_rng(0)
    features = {}
    for n, image_id in enumerate(IDS):
        corner = np.array([(0, 0), (100, 0), (0, 100), (100, 100)][n // 30], float)
        angle, radius = rng.uniform(0, 2 * np.pi), rng.uniform(0, 1) if n % 30 < 10 else rng.uniform(9, 12)
        features[image_id] = tuple(corner + radius * np.array([np.cos(angle), np.sin(angle)]))
    return PoolFacts(dict.fromkeys(IDS, ""), features)


def test_typical_images_are_the_middles_of_clusters_in_which_nothing_was_answered() -> None:
    facts = clumps()
    batch = [int(image_id[1:]) for image_id in typical_batch(facts, batch_size=4, seed=0)]
    assert {n // 30 for n in batch} == {0, 1, 2, 3}
    assert max(n % 30 for n in batch) < 10
    answered = PoolFacts(facts.strata, facts.features, ((1.0, 1.0), (99.0, 1.0)))
    clusters = {int(image_id[1:]) // 30 for image_id in typical_batch(answered, batch_size=2, seed=0)}
    assert clusters == {2, 3}


def test_a_core_set_visits_every_clump_before_it_comes_back_and_keeps_away_from_answers() -> None:
    facts = clumps()
    assert {int(image_id[1:]) // 30 for image_id in core_set_batch(facts, batch_size=4)} == {0, 1, 2, 3}
    answered = PoolFacts(facts.strata, facts.features, ((0.0, 0.0), (100.0, 0.0), (0.0, 100.0)))
    assert int(core_set_batch(answered, batch_size=1)[0][1:]) // 30 == 3
    assert sorted(core_set_batch(facts, batch_size=500)) == IDS


def test_images_that_look_the_same_are_chosen_once_each() -> None:
    same = PoolFacts(dict.fromkeys(IDS, ""), dict.fromkeys(IDS, (1.0, 2.0)))
    assert len(set(typical_batch(same, batch_size=7, seed=0))) == 7
    assert len(set(core_set_batch(same, batch_size=7))) == 7


class Asked:
    """Scores that remember who was asked for."""

    def __init__(self) -> None:
        self.ids: set[str] = set()

    def __call__(self, image_ids: list[str]) -> dict[str, float]:
        self.ids.update(image_ids)
        return {image_id: SCORES[image_id] for image_id in image_ids}


@pytest.mark.parametrize("selector", ["stratified", "power", "stratified_power", "typical_first", "core_set"])
def test_no_more_is_scored_than_a_stochastic_draw_would_score(selector: str) -> None:
    query = QueryConfig(selector=selector, batch_size=5, batches=8)
    facts = clumps()
    for n in (1, 2):
        asked = Asked()
        pool = PoolScores(IDS, asked, lambda ids: PoolFacts(TAXA, {i: facts.features[i] for i in ids}))
        found = select(query, pool, draw_rng(query, n), round_number=n)
        assert len(set(found.chosen)) == 5
        assert set(found.chosen) <= asked.ids
        assert len(asked.ids) <= most_to_score(query, len(IDS)) <= 40


def test_a_selector_that_needs_facts_says_so_where_there_are_none() -> None:
    with pytest.raises(SettingsError, match="core_set needs facts"):
        select(QueryConfig(selector="core_set"), PoolScores(IDS, Asked()), np.random.default_rng(0))
