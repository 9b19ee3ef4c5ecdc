"""Choices that look at more than one image's score: spread over strata, typical images, and core-sets.

All of them are functions of what a manifest records, so a choice can be repeated without model and images.

Sources: power sampling (Farquhar, Gal and Rainforth 2021, arXiv 2106.12059), stratified log-power with rising exponent
(ClaSP PE 2026, arXiv 2601.13677), TypiClust (Hacohen, Dekel and Weinshall 2022, arXiv 2202.02794), core-sets (Sener and
Savarese 2018, arXiv 1708.00489).
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from plankseg.config import QueryConfig
from plankseg.errors import ScoreError

NEIGHBOURS = 20
"""How many of an image's nearest neighbours in its cluster say how typical it is, at most."""

SMALLEST_SCORE = 1e-12
"""A score of 0 counts as this where its logarithm is needed."""

Features = Float[np.ndarray, "images dimensions"]


@dataclass(frozen=True)
class PoolFacts:
    """What is known of images beside their scores.

    `strata` names the stratum of each image, a taxon or a cluster. `features` are vectors of what the encoder sees, by
    image; `answered` are those of the images that people answered, in any order.
    """

    strata: Mapping[str, str]
    features: Mapping[str, tuple[float, ...]] = field(repr=False, default_factory=dict)
    answered: Sequence[tuple[float, ...]] = field(repr=False, default=())


def power_of(query: QueryConfig, round_number: int) -> float:
    """The exponent of a round's power sampling: geometric from the first to the last, linear where the first is 0."""
    share = min(max(round_number - 1, 0) / max(query.power_rounds - 1, 1), 1.0)
    start, end = query.power_start, query.power_end
    if start > 0 and end > 0:
        return float(start * (end / start) ** share)
    return float(start + (end - start) * share)


def power_keys(scores: Mapping[str, float], power: float, rng: np.random.Generator) -> dict[str, float]:
    """A random key for each image: the n highest are a draw of n with probabilities proportional to score ** power.

    Gumbel noise on the logarithms. With a power of 0 the keys are random, whatever the scores. Raises ScoreError for
    negative scores.
    """
    ids = sorted(scores)
    noise = rng.gumbel(size=len(ids))
    if power == 0:
        return dict(zip(ids, noise.tolist(), strict=True))
    if negative := [image_id for image_id in ids if scores[image_id] < 0]:
        raise ScoreError(f"{len(negative)} uncertainties are below 0, the first of image {negative[0]}; score anew.")
    return {i: power * math.log(max(scores[i], SMALLEST_SCORE)) + noise[n] for n, i in enumerate(ids)}


def spread_batch(
    keys: Mapping[str, float], strata: Mapping[str, str], *, batch_size: int, share: float, rng: np.random.Generator
) -> tuple[str, ...]:
    """A batch of which `share` is spread over the strata, the highest keys of each, and the rest has the highest keys.

    The strata take turns in a random order, one image each, until the share is reached or they are empty.
    """
    ranked = sorted(keys, key=lambda image_id: (-keys[image_id], image_id))
    queues: dict[str, list[str]] = {}
    for image_id in reversed(ranked):
        queues.setdefault(strata[image_id], []).append(image_id)
    names = sorted(queues)
    order = [names[index] for index in rng.permutation(len(names))]
    wanted = min(round(share * batch_size), len(ranked))
    chosen: list[str] = []
    while len(chosen) < wanted:
        for name in order:
            if queues[name] and len(chosen) < wanted:
                chosen.append(queues[name].pop())
    taken = set(chosen)
    return (*chosen, *[image_id for image_id in ranked if image_id not in taken][: batch_size - len(chosen)])


def typical_batch(facts: PoolFacts, *, batch_size: int, seed: int) -> tuple[str, ...]:
    """The most typical image of each of the largest clusters in which nothing was answered yet.

    There are as many clusters as images answered and wanted. Typical is who is nearest to its neighbours. With fewer
    such clusters than images wanted, the largest clusters give a second one, and so on.
    """
    ids = sorted(facts.features)
    own = np.array([facts.features[image_id] for image_id in ids], float)
    answered = np.array(list(facts.answered), float).reshape(-1, own.shape[1])
    everything = np.concatenate([own, answered])
    labels = cluster(everything, min(len(answered) + batch_size, len(everything)), seed)
    answers_in = np.bincount(labels[len(own) :], minlength=labels.max() + 1)
    members = {int(name): np.flatnonzero(labels[: len(own)] == name) for name in np.unique(labels[: len(own)])}
    queues = {name: _by_typicality(own, rows) for name, rows in members.items()}
    order = sorted(queues, key=lambda name: (answers_in[name], -len(queues[name]), name))
    chosen: list[str] = []
    while len(chosen) < min(batch_size, len(ids)):
        for name in order[:batch_size]:
            if queues[name] and len(chosen) < batch_size:
                chosen.append(ids[queues[name].pop(0)])
        order = [name for name in order if queues[name]]
    return tuple(chosen)


def core_set_batch(facts: PoolFacts, *, batch_size: int) -> tuple[str, ...]:
    """One after the other the image that is farthest from all answered and chosen ones (k-centre, greedy).

    Where nothing is answered the first one is the image nearest to the mean.
    """
    ids = sorted(facts.features)
    own = np.array([facts.features[image_id] for image_id in ids], float)
    if len(facts.answered):
        distance = np.min([np.linalg.norm(own - np.array(known, float), axis=1) for known in facts.answered], axis=0)
        at = int(distance.argmax())
    else:
        at = int(np.linalg.norm(own - own.mean(axis=0), axis=1).argmin())
        distance = np.full(len(ids), np.inf)
    chosen = []
    for _ in range(min(batch_size, len(ids))):
        chosen.append(ids[at])
        distance = np.minimum(distance, np.linalg.norm(own - own[at], axis=1))
        distance[at] = -1.0
        at = int(distance.argmax())
    return tuple(chosen)


def cluster(features: Features, count: int, seed: int) -> np.ndarray:
    """The cluster of each row, 0 to count - 1, by k-means from k-means++ with a seed; fewer where rows are equal."""
    from sklearn.cluster import KMeans  # takes a second to load
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different rows than clusters
        found = KMeans(min(count, len(features)), n_init=3, random_state=seed).fit(features)
    return np.asarray(found.labels_)


def _by_typicality(features: Features, rows: np.ndarray) -> list[int]:
    """Rows of one cluster, most typical first: by the mean distance to the nearest others, small first."""
    own = features[rows]
    distances = np.linalg.norm(own[:, None] - own[None], axis=2)
    nearest = np.sort(distances, axis=1)[:, 1 : NEIGHBOURS + 1]
    spread = nearest.mean(axis=1) if nearest.size else np.zeros(len(rows))
    return [int(rows[index]) for index in np.lexsort((rows, spread))]
