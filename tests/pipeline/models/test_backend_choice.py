"""The backend of a proposal: tried once, kept, named in the manifest, and the same after a kill."""

import json
from pathlib import Path
from typing import Any

import pytest

from plankseg.acquisition.manifest import Manifest
from plankseg.config import InferenceConfig, Part, Recipe, SegmentConfig, Settings
from plankseg.errors import BackendError
from plankseg.inference.backend_benchmark import BackendChoice, BenchmarkResult, Trial
from plankseg.inference.predictor import TTAPredictor
from plankseg.pipeline.acquisition import score_shards
from plankseg.pipeline.acquisition.propose import ScoringOptions, propose
from plankseg.pipeline.archive import segment
from plankseg.pipeline.archive.shards import images_of, plan
from plankseg.pipeline.models import backend_choice, loading
from plankseg.pipeline.models.backend_choice import choose_archive_backend
from plankseg.storage.store import Store
from tests.support.little_store import add_model, store_with
from tests.support.tiny_recipe import TINY

pytestmark = pytest.mark.slow

CPU = Settings(device="cpu")


def recipe(backend: str = "auto", images: int = 6) -> Recipe:
    # The tiny network is untrained: its masks are chance where logits are near 0, so only the order is bounded.
    config = InferenceConfig(backend=backend, calibration_images=images, min_dice=0.0)
    return TINY.model_copy(update={"inference": config})


@pytest.fixture
def store(tmp_path: Path, weights: bytes) -> Store:
    store = store_with(tmp_path, pool=12)
    add_model(store, 0, weights=weights)
    return store


def rows_of(store: Store) -> list[tuple[Any, ...]]:
    return [(row.batch, row.image_id, row.uncertainty, row.manifest_sha) for row in store.proposals.of_round(1)]


def test_the_manifest_names_the_backend_and_how_each_did(store: Store) -> None:
    proposal = propose(store, recipe(), CPU, round_number=1)
    (sha,) = {row.manifest_sha for row in store.proposals.of_round(1)}
    inference = Manifest.from_json(store.blobs.get(sha, "json")).inference
    assert inference == proposal.choice
    assert inference is not None
    assert inference.images == 6
    assert inference.trials[0].backend == "torch"
    chosen = {str(row["used for"]): row for row in inference.table() if row["used for"]}
    assert all(row["agrees with torch"] for row in chosen.values())
    assert [row["way of computing"] for what, row in chosen.items() if "masks" in what] == [inference.backend]
    assert [row["way of computing"] for what, row in chosen.items() if "uncertainties" in what] == [
        inference.score_backend
    ]
    assert "threads; torch 2." in inference.machine


def test_a_run_that_was_killed_neither_tries_again_nor_scores_again_and_proposes_the_same(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def benchmark(*_: object) -> BenchmarkResult:  # a clock that says something else each time
        tried.append(1)
        speeds = {"torch": len(tried) - 1.0, "folded": 1.5 - len(tried)}
        return BenchmarkResult(
            tuple(Trial(backend=name, images_per_s=speed, agrees=True) for name, speed in speeds.items())  # type: ignore[arg-type]
        )

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(backend_choice, "benchmark_backends", benchmark)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store.proposals, "commit", killed)
        with pytest.raises(KeyboardInterrupt):
            propose(store, recipe(), CPU, round_number=1)
    scored: list[int] = []
    original = TTAPredictor.score
    monkeypatch.setattr(TTAPredictor, "score", lambda *a, **k: scored.append(1) or original(*a, **k))
    proposal = propose(Store.open(store.root), recipe(), CPU, round_number=1)
    assert (tried, scored, proposal.choice.backend) == ([1], [], "folded")


def test_a_run_killed_between_two_commits_of_scores_goes_on_to_the_undisturbed_runs_proposal(
    store: Store, tmp_path: Path, weights: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score_shards, "IMAGES_PER_COMMIT", 3)
    calm = store_with(tmp_path / "calm", pool=12)
    add_model(calm, 0, weights=weights)
    propose(calm, recipe("folded"), CPU, round_number=1)
    kept: list[int] = []
    keep = store.scores.keep

    def keep_or_die(*given: Any) -> None:
        if kept:
            raise KeyboardInterrupt
        kept.append(1)
        keep(*given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store.scores, "keep", keep_or_die)
        with pytest.raises(KeyboardInterrupt):
            propose(store, recipe("folded"), CPU, round_number=1)
    told: list[tuple[int, int]] = []
    scoring = ScoringOptions(on_progress=lambda *n: told.append(n))
    propose(store, recipe("folded"), CPU, round_number=1, scoring=scoring)
    assert told[0][0] == 6  # three were known, and three came
    assert rows_of(store) == rows_of(calm)


def test_a_backend_named_by_the_recipe_is_taken_untried(store: Store) -> None:
    proposal = propose(store, recipe("folded"), CPU, round_number=1)
    assert (proposal.choice.backend, proposal.choice.trials) == ("folded", ())
    assert proposal.choice.reason == "as its settings say"
    assert store.tables.version("calibrations") == 0
    with pytest.raises(BackendError, match="on a GPU only"):
        propose(store, recipe("compiled"), CPU, round_number=2)


def test_a_pool_too_small_to_try_on_is_scored_as_trained_and_says_so(store: Store) -> None:
    proposal = propose(store, recipe(images=13), CPU, round_number=1)
    assert proposal.choice.backend == "torch"
    assert proposal.choice.reason == "too few images to try others on: 12 of 13"


def test_scores_of_another_model_or_way_of_looking_are_not_mixed_up(store: Store) -> None:
    model = store.models.active()
    assert model is not None
    torch_, folded = (BackendChoice(backend=name, machine="a", reason="b") for name in ("torch", "folded"))
    keys = {
        backend_choice.score_key(model, TINY, torch_),
        backend_choice.score_key(model, TINY, folded),
        *(backend_choice.score_key(model, TINY, folded.model_copy(update={"quantized": sha})) for sha in ("1", "2")),
        *(
            backend_choice.score_key(
                model, TINY.model_copy(update={"query": TINY.query.model_copy(update=change)}), torch_
            )
            for change in (
                {"noise_sd": 0.3},
                {"seed": 9},
                {"views": "dihedral"},
                {"measure": "jsd"},
                {"region": "band"},
            )
        ),
    }
    assert len(keys) == 9


def test_an_archive_is_looked_at_with_the_backend_that_was_found_and_its_name_is_in_every_shard(store: Store) -> None:
    model = store.models.active()
    assert model is not None
    ids = images_of(store, Part())
    named = choose_archive_backend(store, model, ids, device="cpu")
    assert (named.backend, named.reason) == ("torch", "as its settings say")
    config = SegmentConfig(backend="folded", shard_size=6)
    job = plan(store, Part(), config, model)
    plain = plan(store, Part(), SegmentConfig(shard_size=6), model)
    assert {shard.shard_id for shard in job.todo}.isdisjoint(shard.shard_id for shard in plain.todo)
    assert [json.loads(shard.settings).get("backend") for shard in (job.todo[0], plain.todo[0])] == ["folded", None]
    with pytest.MonkeyPatch.context() as patch:
        asked: list[str] = []
        patch.setattr(segment, "cached_backend", lambda *a, **k: asked.append(a[2]) or loading.cached_backend(*a, **k))
        assert segment.segment_shard(store, job.todo[0], device="cpu").images == 6
    assert asked == ["folded"]
    loading.clear_cache()
