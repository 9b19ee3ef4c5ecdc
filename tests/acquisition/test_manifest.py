import math
from collections.abc import Sequence
from typing import get_args
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from plankseg.acquisition.diversity import PoolFacts
from plankseg.acquisition.manifest import Choice, Manifest, replay
from plankseg.acquisition.selectors import PoolScores, draw_batches, draw_rng, select
from plankseg.config import QueryConfig, SelectorName
from plankseg.errors import ManifestError, ScoreError

pytestmark = pytest.mark.slow

SCORES = st.dictionaries(st.text(min_size=1, max_size=6), st.floats(0, 1e300), min_size=1, max_size=40)
QUERIES = st.builds(
    QueryConfig,
    selector=st.sampled_from(["stochastic_batches", "random", "top_k", "stratified", "power", "stratified_power"]),
    mode=st.sampled_from(["draws", "partition"]),
    batch_size=st.integers(1, 12),
    batches=st.integers(1, 8),
    views=st.sampled_from(["recipe", "dihedral"]),
    seed=st.integers(0, 2**40),
)


def facts_of(image_ids: Sequence[str]) -> PoolFacts:
    """Three strata by length, and two features, that depend on the image alone."""
    strata = {image_id: f"length {len(image_id) % 3}" for image_id in image_ids}
    features = {image_id: (float(crc32(image_id.encode()) % 97), float(len(image_id))) for image_id in image_ids}
    return PoolFacts(strata, features, ((5.0, 1.0), (50.0, 3.0)))


def record(scores: dict[str, float], query: QueryConfig, round_number: int = 1) -> Manifest:
    pool = PoolScores(list(scores), lambda wanted: {image_id: scores[image_id] for image_id in wanted}, facts_of)
    selection = select(query, pool, draw_rng(query, round_number), round_number=round_number)
    return Manifest.of(selection, query, Choice(round_number, "0f" * 32, len(pool.pool)))


def example(**query: object) -> Manifest:
    return record({f"i{n:02d}": n / 7 for n in range(30)}, QueryConfig(batch_size=4, batches=6, **query))


@given(scores=SCORES, query=QUERIES, round_number=st.integers(1, 12))
def test_replaying_what_was_written_makes_the_same_choice(
    scores: dict[str, float], query: QueryConfig, round_number: int
) -> None:
    manifest = record(scores, query, round_number)
    read = Manifest.from_json(manifest.to_json())
    assert read == manifest
    assert read.to_json() == manifest.to_json()
    assert replay(read) == manifest.chosen


@pytest.mark.parametrize("selector", get_args(SelectorName))
@pytest.mark.parametrize("round_number", [1, 2])
def test_the_choice_of_every_selector_can_be_replayed(selector: SelectorName, round_number: int) -> None:
    scores = {f"i{n:02d}": n / 7 for n in range(30)}
    manifest = record(scores, QueryConfig(selector=selector, batch_size=4, batches=5), round_number)
    read = Manifest.from_json(manifest.to_json())
    assert len(set(manifest.chosen)) == 4
    assert replay(read.model_copy(update={"chosen": (), "batch": 7})) == manifest.chosen


def test_a_manifest_without_the_facts_of_its_selector_cannot_be_replayed() -> None:
    with pytest.raises(ManifestError, match="what core_set knew"):
        replay(example(selector="core_set").model_copy(update={"facts": None}))


@given(scores=SCORES, query=QUERIES)
def test_the_bytes_do_not_depend_on_the_order_of_pool_or_scores(scores: dict[str, float], query: QueryConfig) -> None:
    backwards = dict(reversed(scores.items()))
    assert record(scores, query).to_json() == record(backwards, query).to_json()
    manifest = record(scores, query)
    other_order = manifest.model_copy(update={"scores": dict(reversed(manifest.scores.items()))})
    assert other_order.to_json() == manifest.to_json()


def test_seed_round_and_pool_are_enough_to_draw_the_candidates_again() -> None:
    query = QueryConfig(batch_size=4, batches=6, seed=9)
    pool = [f"i{n:02d}" for n in range(30)]
    manifest = record(dict.fromkeys(pool, 0.5), query, round_number=3)
    rng = draw_rng(query.model_copy(update={"seed": manifest.seed}), manifest.round)
    again = draw_batches(pool, batch_size=manifest.batch_size, batches=6, mode=manifest.mode, rng=rng)
    assert manifest.batches == again
    assert manifest.pool_size == 30


def test_a_manifest_says_what_was_done() -> None:
    manifest = example(views="dihedral", measure="jsd", region="band", band_px=3)
    assert (len(manifest.views), manifest.measure, manifest.region, manifest.band_px) == (8, "jsd", "band", 3)
    assert len(manifest.batches) == 6
    assert set(manifest.scores) == set().union(*manifest.batches)


def test_a_manifest_with_another_score_replays_to_another_choice() -> None:
    manifest = example()
    loser = next(batch for batch in manifest.batches if not set(batch) & set(manifest.chosen))
    tampered = manifest.model_copy(update={"scores": manifest.scores | {loser[0]: 1e6}})
    assert replay(Manifest.from_json(tampered.to_json())) != manifest.chosen


@pytest.mark.parametrize("selector", ["stochastic_batches", "top_k"])
def test_a_manifest_with_a_score_left_out_does_not_replay(selector: str) -> None:
    manifest = example(selector=selector)
    gone = min(manifest.scores)
    rest = {image_id: value for image_id, value in manifest.scores.items() if image_id != gone}
    with pytest.raises(ScoreError):
        replay(manifest.model_copy(update={"scores": rest}))


def test_replay_does_not_trust_the_recorded_winner() -> None:
    manifest = example()
    other = (manifest.batch + 1) % len(manifest.batches)
    forged = manifest.model_copy(update={"batch": other, "chosen": manifest.batches[other]})
    assert replay(forged) == manifest.chosen


def test_a_manifest_without_candidates_does_not_replay() -> None:
    with pytest.raises(ManifestError, match="0 candidate batches"):
        replay(example().model_copy(update={"batches": ()}))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_score_that_is_no_number_is_never_recorded(bad: float) -> None:
    fields = example().model_dump()
    with pytest.raises(ValidationError, match="finite"):
        Manifest(**fields | {"scores": fields["scores"] | {"i00": bad}})


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff", b"[1]", example().to_json()[:-2]])
def test_what_is_no_manifest_is_refused_with_the_next_step(data: bytes) -> None:
    with pytest.raises(ManifestError, match="label store again"):
        Manifest.from_json(data)


def test_a_manifest_with_nan_in_its_text_is_refused() -> None:
    manifest = example()
    spoiled = manifest.to_json().replace(repr(manifest.scores[min(manifest.scores)]).encode(), b"NaN", 1)
    assert spoiled != manifest.to_json()
    with pytest.raises(ManifestError):
        Manifest.from_json(spoiled)


def test_a_manifest_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        example().round = 2  # type: ignore[misc]
