"""On real vignettes the way of computing is tried, chosen, shown in Prefect and named in the proposal's manifest."""

import json
from pathlib import Path

import pytest
import torch

from flows.support.markdown import escape_text
from plankseg import local_servers
from plankseg.acquisition.manifest import Manifest
from plankseg.config import InferenceConfig, NetworkConfig, QueryConfig, Recipe, TrainingConfig
from plankseg.inference.backends import backends_here
from plankseg.learning.network.architecture import build_network, tensor_bytes
from plankseg.pipeline.ingest.register_images import ingest_folder
from plankseg.storage.store import Store
from plankseg.storage.tables.models import ModelRow
from tests.support.live_servers import LivePrefect
from tests.support.subprocess_flow import SUPPORT, alone, artifacts

pytestmark = [pytest.mark.slow, pytest.mark.live, pytest.mark.real_data, pytest.mark.timeout(600)]

CPU = torch.device("cpu")
RECIPE = Recipe(
    network=NetworkConfig(encoder="resnet18", encoder_weights="none"),
    training=TrainingConfig(side_px=64),
    query=QueryConfig(batches=3, batch_size=10),
    # Random weights: their masks are chance where a logit is near 0.
    inference=InferenceConfig(min_dice=0.9, min_rank_correlation=0.8),
)


@pytest.fixture
def store(real_data: Path, tmp_path: Path) -> Store:
    """The whole ZooScanNet sample as the pool, and a model with random weights."""
    store = Store.open(tmp_path / "store")
    ingest_folder(store, real_data / "zooscannet-sample", role="pool")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        weights = tensor_bytes(build_network(RECIPE.network).state_dict())
    store.models.commit(
        ModelRow(
            model_id=store.models.put_weights(weights),
            round=0,
            recipe=RECIPE.model_dump_json(),
            data_version=store.labels.version(),
            side_px=RECIPE.training.side_px,
            epochs=1,
            metrics="{}",
            promoted=True,
            reason="the first model",
            validation_dice=0.5,
            validation_set="none",
        )
    )
    return store


def test_the_table_of_backends_is_an_artifact_and_the_manifest_names_the_chosen_one(
    store: Store, server_settings: local_servers.ServerSettings, prefect_server: LivePrefect
) -> None:
    environment = server_settings.environment() | {"PLANKSEG_STORE": str(store.root), "PLANKSEG_DEVICE": "cpu"}
    alone(SUPPORT / "choose_once.py", RECIPE.model_dump_json(), environment=environment)
    shown = artifacts(server_settings)["round-1-computing"]
    table = json.loads(str(shown["data"]))
    (sha,) = {row.manifest_sha for row in store.proposals.of_round(1)}
    inference = Manifest.from_json(store.blobs.get(sha, "json")).inference
    assert inference is not None
    tried = [row["way of computing"] for row in table]
    agree = {row["way of computing"] for row in table if row["agrees with torch"]}
    assert tried == [name for name in backends_here(CPU) if f"{name}-bf16" not in agree]
    assert [row["way of computing"] for row in table if "masks" in row["used for"]] == [inference.backend]
    assert [row["way of computing"] for row in table if "uncertainties" in row["used for"]] == [inference.score_backend]
    assert all(
        row["images per second"] > 0 and row["Dice to torch"] > 0
        for row in table
        if row["why it was not tried"] is None
    )
    assert inference.images == 16
    assert str(shown["description"]) == escape_text(inference.describe())
    assert "the fastest of " in inference.reason
