"""Speed of two Dask workers against one on scoring a pool, as the flow does it. Last line: one JSON object.

usage: scaling.py [--images 120] [--pairs 3]     (one torch thread a worker; one worker and two in turn, in one run)
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

import torch
import typer
from _machine import machine

from plankseg import local_servers
from plankseg.config import InferenceConfig, NetworkConfig, QueryConfig, Recipe, TrainingConfig, settings
from plankseg.imaging.synthetic.demo_domains import write_domains
from plankseg.learning.network.architecture import build_network, tensor_bytes
from plankseg.pipeline.acquisition.score_shards import Scorer, score_images, shards_to_score
from plankseg.pipeline.ingest.register_images import ingest_folder
from plankseg.pipeline.models.backend_choice import InferenceBackends, select_backends
from plankseg.storage.store import Store
from plankseg.storage.tables.models import ModelRow

BOUNDS = {"two_workers_over_one": 1.6}
RECIPE = Recipe(
    network=NetworkConfig(encoder_weights="none"),
    training=TrainingConfig(precision="fp32"),
    inference=InferenceConfig(backend="folded"),
)


def recipe_of_pass(number: int) -> Recipe:
    """Another seed of the noisy view: the same work, and no score of it is known."""
    return RECIPE.model_copy(update={"query": QueryConfig(seed=number)})


def make_world(folder: Path, images: int) -> tuple[Store, ModelRow, InferenceBackends]:
    """A store with synthetic images and a network at random, which is as fast as one that has learnt."""
    store = Store.open(folder / "store")
    ingest_folder(store, write_domains(folder / "images", source=0, pool=images, validation=0).pool, role="pool")
    model = make_model(store, RECIPE)
    network = build_network(RECIPE.network, weights=store.models.weights(model.model_id))
    return store, model, select_backends(store, model, network, RECIPE)


def make_model(store: Store, recipe: Recipe) -> ModelRow:
    """A network at random, as the active model."""
    torch.manual_seed(0)
    model = ModelRow(
        model_id=store.models.put_weights(tensor_bytes(build_network(recipe.network).state_dict())),
        round=0,
        recipe=recipe.model_dump_json(),
        data_version=0,
        side_px=recipe.training.side_px,
        epochs=0,
        metrics="{}",
        promoted=True,
        reason="not trained",
        validation_dice=0.0,
        validation_set="none",
    )
    store.models.commit(model)
    return model


@contextmanager
def cluster_of(workers: int) -> Iterator[str]:
    """The address of a scheduler with so many workers of one thread, each a session of its own, as on machines apart.

    In one session Linux (autogroup) gives two of them, beside other work, no more processor than it gives one.
    """
    from distributed import Client, LocalCluster

    command = [str(Path(sys.executable).parent / "dask"), "worker", "--nthreads", "1", "--no-nanny", "--no-dashboard"]
    with LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0") as cluster:
        address = cluster.scheduler_address
        processes = [
            subprocess.Popen(
                [*command, "--host", "127.0.0.1", address],
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
                preexec_fn=local_servers.die_with_parent,
            )
            for _ in range(workers)
        ]
        try:
            with Client(address, set_as_default=False) as client:
                client.wait_for_workers(workers, timeout=120)
            yield address
        finally:
            for process in processes:
                local_servers.end(process)


def scored_by(address: str, shards: list) -> float:
    """Seconds until the workers of a scheduler have scored all shards."""
    from prefect import flow

    from flows.propose import on_workers

    os.environ["PLANKSEG_DASK_ADDRESS"] = address
    settings.cache_clear()

    @flow(name="scaling")
    def scaling() -> float:
        started = time.perf_counter()
        on_workers(shards)
        return time.perf_counter() - started

    return scaling()


def main(images: int = 120, pairs: int = 3) -> None:
    """Measure, print, and exit 0 only if the bound holds."""
    figures: dict[str, float | list[float]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        at = local_servers.ServerSettings(folder, local_servers.free_port(), local_servers.free_port())
        os.environ.update(at.environment(), PLANKSEG_RUNNER="dask", PLANKSEG_DEVICE="cpu")
        stack.enter_context(local_servers.start_prefect(at)).wait()
        store, model, backends = make_world(folder, images)
        clusters = {workers: stack.enter_context(cluster_of(workers)) for workers in (1, 2)}
        ids = store.catalogue.ids("pool")
        seconds: dict[int, list[float]] = {1: [], 2: []}
        for number in range(2 * (pairs + 1)):  # the first pass of each loads torch and the network
            workers = 1 + number % 2
            recipe = recipe_of_pass(number)
            scorer = Scorer(model, recipe, backends)
            shards = shards_to_score(store, scorer, ids)
            seconds[workers].append(scored_by(clusters[workers], shards))
            assert len(score_images(store, scorer, ids)[0]) == images
            assert shards_to_score(store, scorer, ids) == [], "every score is kept"
        ratios = [alone / two for alone, two in zip(seconds[1][1:], seconds[2][1:], strict=True)]
        figures = {
            "two_workers_over_one": round(median(ratios), 2),
            "ratios": [round(ratio, 2) for ratio in ratios],
            "images_per_s_one": round(images / median(seconds[1][1:]), 1),
            "images_per_s_two": round(images / median(seconds[2][1:]), 1),
            "shards": -(-images // 12),
            "load_before": round(os.getloadavg()[0], 1),
        }
    ok = figures["two_workers_over_one"] >= BOUNDS["two_workers_over_one"]
    print(json.dumps({"figures": figures, "bounds": BOUNDS, "ok": ok, **machine()}))
    raise SystemExit(0 if ok else 1)


if __name__ == "__main__":
    typer.run(main)
