"""Scores that were made in shards, by whoever and in whatever order, are those made in one go, to the last bit."""

from pathlib import Path

import pytest
import torch

from plankseg.config import InferenceConfig, Recipe, Settings
from plankseg.errors import SettingsError
from plankseg.imaging.framing import Framing
from plankseg.inference import backend_benchmark
from plankseg.inference.predictor import TTAPredictor
from plankseg.inference.quantization import quantizes_here
from plankseg.learning.network.architecture import build_network
from plankseg.pipeline.acquisition.propose import ScoringOptions, propose
from plankseg.pipeline.acquisition.score_shards import (
    SMALLEST_SHARD,
    Scorer,
    ScoringShard,
    score_images,
    score_shard,
    shards_to_score,
)
from plankseg.pipeline.archive.shards import shard_size
from plankseg.pipeline.models import loading
from plankseg.pipeline.models.backend_choice import TrialImages, select_backends
from plankseg.storage.store import Store
from plankseg.storage.tables.models import ModelRow
from tests.support.little_store import add_model, store_with
from tests.support.tiny_recipe import TINY

pytestmark = pytest.mark.slow
CPU = Settings(device="cpu")


def recipe_with(backend: str) -> Recipe:
    return TINY.model_copy(update={"inference": InferenceConfig(backend=backend)})


def world(folder: Path, weights: bytes, backend: str) -> tuple[Store, ModelRow, Scorer, list[str]]:
    store = store_with(folder, pool=40)
    model, recipe = add_model(store, 0, weights=weights), recipe_with(backend)
    backends = select_backends(store, model, build_network(TINY.network, weights=weights), recipe)
    return store, model, Scorer(model, recipe, backends), store.catalogue.ids("pool")


@pytest.mark.parametrize("backend", ["torch", "folded", "folded-bf16"])
def test_shards_on_other_numbers_of_threads_and_backwards_give_the_same_bits(
    tmp_path: Path, weights: bytes, backend: str
) -> None:
    store, _, scorer, ids = world(tmp_path / "whole", weights, backend)
    whole, reasons = score_images(store, scorer, ids)
    assert not reasons
    other, _, scorer, same_ids = world(tmp_path / "parts", weights, backend)
    assert same_ids == ids
    shards = shards_to_score(other, scorer, ids)
    assert [image_id for shard in shards for image_id in shard.image_ids] == sorted(ids)
    assert len(shards) == -(-len(ids) // SMALLEST_SHARD)
    threads = torch.get_num_threads()
    try:
        for number, shard in enumerate(reversed(shards)):
            torch.set_num_threads(1 + number % 3)
            loading.clear_cache()
            assert score_shard(other, shard, device="cpu") == len(shard.image_ids)
    finally:
        torch.set_num_threads(threads)
    assert shards_to_score(other, scorer, ids) == []
    assert score_images(other, scorer, ids) == (whole, {})


@pytest.mark.skipif(not quantizes_here(torch.device("cpu")), reason="needs OpenVINO and 8 bit products")
def test_what_ranks_in_8_bits_is_made_once_and_every_process_takes_that(
    tmp_path: Path, weights: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However slow it is on so small a network, here it is the fastest that agrees."""
    bounds = InferenceConfig(calibration_images=6, min_dice=0, min_rank_correlation=-1)
    training = TINY.training.model_copy(update={"precision": "auto"})
    recipe = TINY.model_copy(update={"inference": bounds, "training": training})
    monkeypatch.setattr(backend_benchmark, "_fastest", lambda trials: trials[-1])
    store = store_with(tmp_path, pool=40)
    model = add_model(store, 0, weights=weights, recipe=recipe)
    network, ids = build_network(TINY.network, weights=weights), store.catalogue.ids("pool")
    backends = select_backends(store, model, network, recipe, TrialImages(ids, to_score=10**6))
    again = select_backends(store, model, network, recipe)
    assert (backends.for_scores.name, backends.for_masks.name) == ("openvino-int8", backends.choice.backend)
    assert again.choice == backends.choice
    scorer = Scorer(model, recipe, backends)
    shards = shards_to_score(store, scorer, ids)
    for shard in shards:
        loading.clear_cache()
        score_shard(store, shard, device="cpu")
    by_workers, _ = score_images(store, scorer, ids)
    in_one_go, by_masks = (
        TTAPredictor(backend, store.catalogue.load, recipe.query, Framing(model.side_px)).score(ids)
        for backend in (again.for_scores, again.for_masks)
    )
    assert by_workers == in_one_go
    assert by_workers != by_masks


def test_a_proposal_whose_images_are_scored_elsewhere_is_the_same_and_names_the_same_unreadable_images(
    tmp_path: Path, weights: bytes
) -> None:
    recipe, rows, unreadable = recipe_with("torch"), [], []
    for name in ("here", "elsewhere"):
        store, _, _, ids = world(tmp_path / name, weights, "torch")
        store.catalogue.path(ids[7]).unlink()
        done: list[ScoringShard] = []

        def elsewhere(shards: list[ScoringShard], store: Store = store, done: list[ScoringShard] = done) -> None:
            for shard in shards:
                score_shard(store, shard, device="cpu")
            done += shards

        scoring = ScoringOptions(spread=elsewhere) if name == "elsewhere" else None
        proposal = propose(store, recipe, CPU, round_number=1, scoring=scoring)
        assert bool(done) == (name == "elsewhere")
        unreadable.append(proposal.unreadable)
        rows.append(
            [(row.image_id, row.uncertainty, row.chosen, row.premask_sha) for row in store.proposals.of_round(1)]
        )
    assert rows[0] == rows[1]
    assert unreadable[0] == unreadable[1]


def test_a_worker_loads_a_model_once_for_all_of_its_shards(
    tmp_path: Path, weights: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    loading.clear_cache()
    store, _, scorer, ids = world(tmp_path, weights, "folded")
    built: list[object] = []
    monkeypatch.setattr(loading, "build_network", lambda *a, **k: built.append(a) or build_network(*a, **k))
    for shard in shards_to_score(store, scorer, ids):
        score_shard(store, shard, device="cpu")
    assert len(built) == 1


def test_a_machine_of_another_kind_refuses_to_score(tmp_path: Path, weights: bytes) -> None:
    store, model, scorer, ids = world(tmp_path, weights, "torch")
    shard = ScoringShard(model, TINY, scorer.backends.choice, "cuda", tuple(ids))
    with pytest.raises(SettingsError, match="would score on cpu, but the flow chose torch for cuda"):
        score_shard(store, shard, device="cpu")


@pytest.mark.parametrize(
    ("images", "images_per_s", "size"),
    [(1000, 3.0, 21), (100_000, 3.0, 180), (1_400_000, 500.0, 29_167), (1_400_000, 100.0, 6000), (30, None, 12)],
)
def test_a_shard_is_a_minute_of_work_or_less(images: int, images_per_s: float | None, size: int) -> None:
    assert shard_size(images, images_per_s, smallest=SMALLEST_SHARD) == size
