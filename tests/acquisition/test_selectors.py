import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plankseg.acquisition.selectors import (
    PoolScores,
    best_batch,
    draw_batches,
    draw_rng,
    most_to_score,
    random_batch,
    select,
    stochastic_batches,
    top_k,
)
from plankseg.config import QueryConfig
from plankseg.errors import EmptyPoolError, ScoreError, SettingsError


class Scorer:
    """A dict of scores that remembers what it was asked."""

    def __init__(self, scores: Mapping[str, float]) -> None:
        self.scores = scores
        self.asked: list[str] = []

    def __call__(self, image_ids: Sequence[str]) -> Mapping[str, float]:
        self.asked += image_ids
        return {image_id: self.scores[image_id] for image_id in image_ids}


def ids(count: int) -> list[str]:
    return [f"image-{number:05d}" for number in range(count)]


def normal_scores(count: int, seed: int = 0) -> dict[str, float]:
    values = np.random.default_rng(seed).standard_normal(count)
    values = (values - values.mean()) / values.std()
    return dict(zip(ids(count), values.tolist(), strict=True))


def pool_of(scores: Mapping[str, float]) -> PoolScores:
    return PoolScores(list(scores), Scorer(scores))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("selector", ["stochastic_batches", "random", "top_k"])
@pytest.mark.parametrize("pool_size", [15, 60, 500])
def test_no_selector_wants_more_scores_than_it_says(selector: str, pool_size: int) -> None:
    query = QueryConfig(selector=selector, batches=4, batch_size=20)
    scorer = Scorer(normal_scores(pool_size))
    select(query, PoolScores(ids(pool_size), scorer), rng())
    assert 0 < len(set(scorer.asked)) <= most_to_score(query, pool_size) <= pool_size


SELECTORS: list[Callable[..., object]] = [stochastic_batches, random_batch, top_k]


def test_the_batch_with_the_highest_mean_is_chosen() -> None:
    scores = normal_scores(200)
    found = stochastic_batches(pool_of(scores), batch_size=20, batches=50, rng=rng())
    means = [np.mean([scores[image_id] for image_id in batch]) for batch in found.batches]
    assert len(found.batches) == 50
    assert found.batch == int(np.argmax(means))
    assert found.chosen == found.batches[found.batch]
    assert all(len(set(batch)) == 20 for batch in found.batches)  # within a batch without replacement


def test_an_image_may_be_in_two_draws_but_not_in_two_parts() -> None:
    pool = ids(100)
    draws = draw_batches(pool, batch_size=20, batches=50, mode="draws", rng=rng())
    parts = draw_batches(pool, batch_size=20, batches=50, mode="partition", rng=rng())
    assert len(draws) == 50
    assert sum(map(len, draws)) > len(set().union(*draws))
    assert sorted(image_id for part in parts for image_id in part) == pool


def test_only_the_union_of_the_candidates_is_scored_and_each_image_once() -> None:
    scorer = Scorer(normal_scores(5000))
    found = stochastic_batches(PoolScores(ids(5000), scorer), batch_size=20, batches=10, rng=rng())
    union = set().union(*found.batches)
    assert sorted(scorer.asked) == sorted(union) == sorted(found.scores)
    assert len(union) <= 200


def test_random_does_not_look_at_the_scores_that_it_records() -> None:
    scorer = Scorer(normal_scores(100))
    found = random_batch(PoolScores(ids(100), scorer), batch_size=7, rng=rng())
    assert len(found.chosen) == 7
    assert sorted(scorer.asked) == sorted(found.chosen) == sorted(found.scores)
    other_scores = pool_of(normal_scores(100, seed=1))
    assert random_batch(other_scores, batch_size=7, rng=rng()).chosen == found.chosen


def test_top_k_scores_the_whole_pool_and_takes_the_highest() -> None:
    scorer = Scorer(normal_scores(100))
    greedy = top_k(PoolScores(ids(100), scorer), batch_size=7, rng=rng())
    assert sorted(scorer.asked) == ids(100)
    assert greedy.chosen == tuple(sorted(scorer.scores, key=lambda image_id: -scorer.scores[image_id])[:7])


@pytest.mark.parametrize("selector", SELECTORS)
def test_the_pools_order_and_repetitions_do_not_matter(selector: Callable[..., object]) -> None:
    scores = normal_scores(101)
    pool = list(scores)
    shuffled = [pool[i] for i in rng(5).permutation(101)] + pool[:3]
    one = selector(PoolScores(pool, Scorer(scores)), batch_size=10, rng=rng(1))
    other = selector(PoolScores(shuffled, Scorer(scores)), batch_size=10, rng=rng(1))
    assert one == other


@pytest.mark.parametrize("selector", [stochastic_batches, random_batch])
def test_the_seed_decides(selector: Callable[..., object]) -> None:
    scores = normal_scores(300)
    first, again, another = (selector(pool_of(scores), batch_size=20, rng=rng(seed)) for seed in (1, 1, 2))
    assert first == again
    assert first != another


@pytest.mark.parametrize("mode", ["draws", "partition"])
@pytest.mark.parametrize("size", [1, 19, 20])
def test_a_pool_no_larger_than_the_batch_is_one_batch_and_still_scored(mode: str, size: int) -> None:
    scores = normal_scores(20) if size == 20 else dict.fromkeys(ids(size), 0.5)
    found = stochastic_batches(pool_of(scores), batch_size=20, batches=50, mode=mode, rng=rng())
    assert found.batches == (tuple(ids(size)),)
    assert (sorted(found.chosen), found.batch, sorted(found.scores)) == (ids(size), 0, ids(size))


@pytest.mark.parametrize("selector", [random_batch, top_k])
def test_the_rivals_too_take_a_small_pool_whole(selector: Callable[..., object]) -> None:
    found = selector(pool_of(normal_scores(5)), batch_size=20, rng=rng())
    assert sorted(found.chosen) == ids(5)


@pytest.mark.parametrize("selector", SELECTORS)
def test_an_empty_pool_is_an_error_that_says_what_to_do(selector: Callable[..., object]) -> None:
    with pytest.raises(EmptyPoolError, match="ingest more"):
        selector(pool_of({}), rng=rng())


@pytest.mark.parametrize("selector", [stochastic_batches, top_k])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_scores_that_are_not_finite_are_named(selector: Callable[..., object], bad: float) -> None:
    scores = normal_scores(8) | {"image-00003": bad}
    with pytest.raises(ScoreError, match=f"1 of 8 images .*image-00003: {bad}"):
        selector(pool_of(scores), batch_size=8, rng=rng())


@pytest.mark.parametrize("selector", [stochastic_batches, top_k])
def test_missing_scores_are_named_but_not_all_of_a_thousand(selector: Callable[..., object]) -> None:
    scores = PoolScores(ids(30), lambda wanted: {"image-00000": 1.0})
    with pytest.raises(ScoreError, match=r"29 of 30 .*image-00001: missing.*image-00005: missing and 24 more\)"):
        selector(scores, batch_size=30, rng=rng())


def test_of_equal_batches_the_first_drawn_wins() -> None:
    found = stochastic_batches(pool_of(dict.fromkeys(ids(100), 0.1)), batch_size=7, batches=9, rng=rng())
    assert found.batch == 0


@given(st.permutations([0.1, 0.2, 0.3, 0.7, 1e-9, 1e9, 0.1 + 0.2]))
def test_the_same_images_in_another_order_are_a_tie(values: list[float]) -> None:
    scores = {str(value): value for value in values}
    assert best_batch([tuple(scores), tuple(reversed(scores)), tuple(sorted(scores))], scores) == 0


def test_equal_scores_of_top_k_come_in_id_order() -> None:
    scores = {"d": 1.0, "b": 2.0, "c": 1.0, "a": 1.0}
    assert top_k(pool_of(scores), batch_size=3).chosen == ("b", "a", "c")


def test_a_partition_drops_the_incomplete_rest() -> None:
    parts = draw_batches(ids(47), batch_size=20, batches=50, mode="partition", rng=rng())
    assert [len(part) for part in parts] == [20, 20]
    assert len(set().union(*parts)) == 40


def test_a_partition_has_no_more_batches_than_asked() -> None:
    assert len(draw_batches(ids(100), batch_size=5, batches=3, mode="partition", rng=rng())) == 3


def test_more_draws_than_different_batches_are_drawn_all_the_same() -> None:
    draws = draw_batches(ids(3), batch_size=2, batches=50, mode="draws", rng=rng())
    assert len(draws) == 50
    assert {frozenset(draw) for draw in draws} == {frozenset(p) for p in (ids(3)[:2], ids(3)[1:], ids(3)[::2])}


@pytest.mark.parametrize("sizes", [{"batch_size": 0}, {"batches": -1}])
def test_sizes_below_one_are_refused_by_name(sizes: dict[str, int]) -> None:
    with pytest.raises(SettingsError, match=f"{next(iter(sizes))} is {next(iter(sizes.values()))}"):
        stochastic_batches(pool_of(normal_scores(5)), **sizes, rng=rng())


def test_select_follows_the_recipe() -> None:
    scores = normal_scores(60)
    query = QueryConfig(batch_size=6, batches=4)
    assert len(select(query, pool_of(scores), rng()).batches) == 4
    partition = query.model_copy(update={"mode": "partition", "batches": 99})
    assert len(select(partition, pool_of(scores), rng()).batches) == 10
    blind = select(query.model_copy(update={"selector": "random"}), pool_of(scores), rng())
    assert blind == random_batch(pool_of(scores), batch_size=6, rng=rng())
    greedy = select(query.model_copy(update={"selector": "top_k"}), pool_of(scores), rng())
    assert greedy == top_k(pool_of(scores), batch_size=6)


def test_every_round_draws_anew_and_every_rerun_of_it_the_same() -> None:
    query = QueryConfig(seed=3)
    numbers = [draw_rng(config, n).random() for config, n in ((query, 1), (query, 1), (query, 2), (QueryConfig(), 1))]
    assert numbers[0] == numbers[1]
    assert len(set(numbers)) == 3


def tilt(found: object) -> float:
    return float(np.mean([found.scores[image_id] for image_id in found.chosen]))


def test_fifty_draws_tilt_the_choice_by_half_a_sigma() -> None:
    scores = normal_scores(2000)
    chance = rng(11)
    tilts = [tilt(stochastic_batches(pool_of(scores), batch_size=20, batches=50, rng=chance)) for _ in range(60)]
    # The greatest of 50 standard normals is 2.25 on average; a mean of 20 shrinks it by sqrt(20): 0.503 (s.e. 0.013).
    assert np.mean(tilts) == pytest.approx(0.503, abs=0.04)


def test_the_papers_partition_tilts_by_three_quarters_of_a_sigma_and_top_k_by_more_than_three() -> None:
    chance = rng(12)
    partitions = [
        tilt(stochastic_batches(pool_of(scores), batches=2000, mode="partition", rng=chance))
        for scores in (normal_scores(25_200, seed) for seed in range(6))
    ]
    greedy = [tilt(top_k(pool_of(normal_scores(25_200, seed)))) for seed in range(6)]
    assert np.mean(partitions) == pytest.approx(0.74, abs=0.08)
    assert np.mean(greedy) == pytest.approx(3.4, abs=0.1)
