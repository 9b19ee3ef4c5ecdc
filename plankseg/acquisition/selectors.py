"""Selectors: the choice of a round's images, as published or in other ways known to be good.

Top-k chooses the most uncertain images, and they are mostly of one kind ("mostly eggs"). Stochastic batches
(Gaillochet, Desrosiers and Lombaert 2023, arXiv 2301.07670) draw whole batches at random, score each by the mean
uncertainty of its images, and take the best: a diverse random draw with slightly higher uncertainty. Measured in
standard deviations of the scores, the best of 50 draws of 20 lies 0.5 above a random batch, the best of the paper's
partition (25,200 images in groups of 20) 0.74, top-k 3.4. The later selectors, see `diversity`, choose single images
from as many random candidates as stochastic batches score.

Every selector sorts the pool's ids first, so the choice depends on the pool as a set and on `rng`, never on its order.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from plankseg.acquisition.diversity import (
    PoolFacts,
    core_set_batch,
    power_keys,
    power_of,
    spread_batch,
    typical_batch,
)
from plankseg.config import QueryConfig
from plankseg.errors import EmptyPoolError, ScoreError, SettingsError
from plankseg.sorted_ids import SortedIds

Batch = tuple[str, ...]
"""Image ids, none twice."""

IDS_NAMED = 5

SCORE_FIRST = frozenset({"power", "stratified_power", "typical_first"})
"""Later selectors whose choice depends on scores; those of `typical_first` do from round 2 on."""


@dataclass(frozen=True)
class PoolScores:
    """The ids that may be chosen, and `score`, which is asked only for those that can be.

    `describe` is asked by the selectors that look at more than scores, for their candidates.
    """

    pool: Sequence[str]
    score: Callable[[Sequence[str]], Mapping[str, float]]
    describe: Callable[[Sequence[str]], PoolFacts] | None = None


@dataclass(frozen=True)
class Selection:
    """What was chosen and what from: `chosen` is `batches[batch]`, and every image of every batch is in `scores`.

    `facts` are those of the candidates, for the selectors that look at them.
    """

    chosen: Batch
    batches: tuple[Batch, ...]
    scores: dict[str, float] = field(repr=False)
    batch: int
    facts: PoolFacts | None = field(repr=False, default=None)


def draw_rng(query: QueryConfig, round_number: int) -> np.random.Generator:
    """The generator of one round's draws: the recipe's seed with the round mixed in."""
    return np.random.default_rng([query.seed, round_number])


def choice_rng(query: QueryConfig, round_number: int) -> np.random.Generator:
    """The generator of the choice among candidates, apart from that of their draw, so that a choice can be repeated."""
    return np.random.default_rng([query.seed, round_number, 5])


def select(query: QueryConfig, scores: PoolScores, rng: np.random.Generator, *, round_number: int = 1) -> Selection:
    """Choose one batch in the way the recipe asks for. Raises what the selectors raise."""
    if query.selector == "random":
        return random_batch(scores, batch_size=query.batch_size, rng=rng)
    if query.selector == "top_k":
        return top_k(scores, batch_size=query.batch_size, rng=rng)
    if query.selector == "stochastic_batches":
        return stochastic_batches(scores, batch_size=query.batch_size, batches=query.batches, mode=query.mode, rng=rng)
    return choose_candidates(query, scores, rng, round_number=round_number)


def choose_candidates(
    query: QueryConfig, scores: PoolScores, rng: np.random.Generator, *, round_number: int
) -> Selection:
    """A batch from candidates that are drawn at random, as many as stochastic batches of this query would hold.

    A pool no larger than a batch is chosen whole. Raises EmptyPoolError, ScoreError, and SettingsError where nothing
    describes the candidates.
    """
    (candidates,) = draw_batches(
        scores.pool, batch_size=query.batches * query.batch_size, batches=1, mode="draws", rng=rng
    )
    ids = tuple(sorted(candidates))
    if scores.describe is None:
        raise SettingsError(f"The selector {query.selector} needs facts of the images, and none can be had here.")
    facts = scores.describe(ids)
    known = _scored(scores, ids) if _needs_scores(query, round_number) else {}
    chosen = choose(query, ids, known, facts, round_number=round_number)
    known = known or _scored(scores, sorted(chosen))
    return Selection(chosen=chosen, batches=(chosen,), scores=known, batch=0, facts=facts)


def choose(
    query: QueryConfig, ids: Sequence[str], scores: Mapping[str, float], facts: PoolFacts, *, round_number: int
) -> Batch:
    """The batch of a later selector among candidates; nothing else has an influence on it."""
    rng, size = choice_rng(query, round_number), query.batch_size
    if query.selector == "core_set":
        return core_set_batch(facts, batch_size=size)
    if query.selector == "typical_first" and round_number == 1:
        return typical_batch(facts, batch_size=size, seed=query.seed)
    if query.selector == "stratified":
        keys = power_keys(dict.fromkeys(ids, 1.0), 0.0, rng)
        return spread_batch(keys, facts.strata, batch_size=size, share=1.0, rng=rng)
    keys = power_keys({image_id: scores[image_id] for image_id in ids}, power_of(query, round_number), rng)
    share = 0.0 if query.selector == "power" else query.spread_share
    return spread_batch(keys, facts.strata, batch_size=size, share=share, rng=rng)


def _needs_scores(query: QueryConfig, round_number: int) -> bool:
    return query.selector in SCORE_FIRST and not (query.selector == "typical_first" and round_number == 1)


def most_to_score(query: QueryConfig, pool_size: int) -> int:
    """The largest number of images that a selector asks scores for."""
    whole, candidates = {"top_k": pool_size}, query.batches * query.batch_size
    scores_candidates = query.selector == "stochastic_batches" or query.selector in SCORE_FIRST
    return min(pool_size, whole.get(query.selector, candidates if scores_candidates else query.batch_size))


def stochastic_batches(
    scores: PoolScores,
    *,
    batch_size: int = 20,
    batches: int = 50,
    mode: Literal["draws", "partition"] = "draws",
    rng: np.random.Generator,
) -> Selection:
    """The candidate batch with the highest mean score; of equal ones the first drawn.

    Only the union of the candidate batches is scored. A pool no larger than `batch_size` is one batch, chosen whole,
    and still scored. Raises EmptyPoolError, and ScoreError naming the images whose score is missing or not finite.
    """
    candidates = draw_batches(scores.pool, batch_size=batch_size, batches=batches, mode=mode, rng=rng)
    known = _scored(scores, sorted(set().union(*candidates)))
    winner = best_batch(candidates, known)
    return Selection(chosen=candidates[winner], batches=candidates, scores=known, batch=winner)


def random_batch(scores: PoolScores, *, batch_size: int = 20, rng: np.random.Generator) -> Selection:
    """One batch drawn at random: its scores are recorded, but nothing depends on them. A smaller pool is chosen whole.

    Raises EmptyPoolError and ScoreError.
    """
    candidates = draw_batches(scores.pool, batch_size=batch_size, batches=1, mode="draws", rng=rng)
    return Selection(chosen=candidates[0], batches=candidates, scores=_scored(scores, sorted(candidates[0])), batch=0)


def top_k(scores: PoolScores, *, batch_size: int = 20, rng: np.random.Generator | None = None) -> Selection:
    """The highest scores of the whole pool, highest first; equal ones in the order of their ids. `rng` is not used.

    Every image of the pool is scored. A smaller pool is chosen whole. Raises EmptyPoolError and ScoreError.
    """
    del rng  # not random; a parameter only so that the selectors have the same signature
    _check_at_least_one(batch_size=batch_size)
    known = _scored(scores, _ordered(scores.pool))
    chosen = highest(known, batch_size)
    return Selection(chosen=chosen, batches=(chosen,), scores=known, batch=0)


def draw_batches(
    pool: Sequence[str],
    *,
    batch_size: int,
    batches: int,
    mode: Literal["draws", "partition"],
    rng: np.random.Generator,
) -> tuple[Batch, ...]:
    """Candidate batches of `batch_size` different images each.

    "draws": `batches` independent draws; two of them may share images, and in a pool hardly larger than a batch even
    be the same. "partition", the paper's way: the groups of one random permutation, without an incomplete last one; the
    first `batches` of them, so that a large number means the whole pool. A pool no larger than `batch_size` makes one
    batch of everything in either mode. Raises EmptyPoolError.
    """
    _check_at_least_one(batch_size=batch_size, batches=batches)
    ids = _ordered(pool)
    if len(ids) <= batch_size:
        return (tuple(ids),)
    if mode == "partition":
        order = rng.permutation(len(ids))
        groups = min(batches, len(ids) // batch_size)
        rows = [order[start * batch_size : (start + 1) * batch_size] for start in range(groups)]
    else:
        rows = [rng.choice(len(ids), size=batch_size, replace=False) for _ in range(batches)]
    return tuple(tuple(ids[position] for position in row) for row in rows)


def best_batch(batches: Sequence[Batch], scores: Mapping[str, float]) -> int:
    """Index of the batch with the highest mean score, the first of equal ones.

    The sums are exact (`fsum`), so a batch's mean does not depend on the order of its images.
    Raises ScoreError where an image of any batch has no finite score.
    """
    _check_scores(scores, {image_id for batch in batches for image_id in batch})
    means = [math.fsum(scores[image_id] for image_id in batch) / len(batch) for batch in batches]
    return means.index(max(means))


def highest(scores: Mapping[str, float], count: int) -> Batch:
    """Ids of the `count` highest scores, highest first, equal ones in the order of their ids. Raises ScoreError."""
    _check_scores(scores, scores)
    return tuple(sorted(scores, key=lambda image_id: (-scores[image_id], image_id))[:count])


def _ordered(pool: Sequence[str]) -> Sequence[str]:
    if not pool:
        raise EmptyPoolError(
            "No image is left to choose from: the pool has 0 unlabelled images; ingest more, or finalize."
        )
    return pool if isinstance(pool, SortedIds) else sorted(set(pool))


def _scored(scores: PoolScores, image_ids: Sequence[str]) -> dict[str, float]:
    """The scores of exactly these ids, as plain floats."""
    answered = scores.score(image_ids)
    _check_scores(answered, image_ids)
    return {image_id: float(answered[image_id]) for image_id in image_ids}


def _check_scores(scores: Mapping[str, float], image_ids: Iterable[str]) -> None:
    ids = sorted(image_ids)
    bad = [f"{image_id}: missing" for image_id in ids if image_id not in scores]
    bad += [f"{i}: {scores[i]}" for i in ids if i in scores and not math.isfinite(scores[i])]
    if bad:
        more = f" and {len(bad) - IDS_NAMED} more" if len(bad) > IDS_NAMED else ""
        raise ScoreError(
            f"{len(bad)} of {len(ids)} images have no finite score ({', '.join(bad[:IDS_NAMED])}{more}); "
            "check the model's weights, or take these images out of the pool."
        )


def _check_at_least_one(**sizes: int) -> None:
    for name, value in sizes.items():
        if value < 1:
            raise SettingsError(f"{name} is {value}; choose 1 or more.")
