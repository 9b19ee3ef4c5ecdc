"""`segment` and `propose` on a separate Dask scheduler: a worker or the scheduler killed, all is as on threads.

PLANKSEG_DASK_IMAGES=20000 repeats it at the size of a small archive, in one view (about half an hour on two cores).
"""

import os
import shutil
import signal
import time
from pathlib import Path

import psutil
import pytest

from plankseg import local_servers
from plankseg.config import InferenceConfig, QueryConfig, Recipe, TrainingConfig
from plankseg.imaging.synthetic.demo_domains import write_domains
from plankseg.pipeline.ingest.register_images import ingest_folder
from plankseg.storage.store import Store
from tests.support.dask_cluster import dask_cluster
from tests.support.little_store import add_model
from tests.support.live_servers import LivePrefect
from tests.support.prefect_api import until
from tests.support.segment_harness import Bench
from tests.support.subprocess_flow import SUPPORT, alone, end_of
from tests.support.tiny_recipe import TINY

IMAGES = int(os.environ.get("PLANKSEG_DASK_IMAGES", "48"))
SHARD_SIZE = max(8, IMAGES // 40)
SHARDS = -(-IMAGES // SHARD_SIZE)
VIEWS = "recipe" if IMAGES < 1000 else "none"
CHOOSE = SUPPORT / "choose_once.py"
TIMEOUT_S = 280 + IMAGES / 5
CHOICE = ["batch", "image_id", "uncertainty", "chosen", "premask_sha"]  # the manifest names the machine, threads too
SMALL = Recipe(
    network=TINY.network,
    training=TrainingConfig(side_px=128, precision="fp32"),
    inference=InferenceConfig(backend="torch"),  # two stores are compared: a clock must not choose for each
)
pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(900 + IMAGES // 2)]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with synthetic images, and a network at side 128 that never learnt: no mask of it is easy to repeat."""
    import torch

    from plankseg.learning.network.architecture import build_network, tensor_bytes

    folder = tmp_path_factory.mktemp("archive")
    store = Store.open(folder / "store")
    images = write_domains(folder / "images", source=0, pool=IMAGES, validation=0).pool
    ingest_folder(store, images, role="pool")
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        add_model(store, 0, weights=tensor_bytes(build_network(SMALL.network).state_dict()), recipe=SMALL)
    return store.root


def bench(archive: Path, to: Path, server_settings: local_servers.ServerSettings, **more: str) -> Bench:
    shutil.copytree(archive, to)
    return Bench(Store.open(to), server_settings, more)


@pytest.fixture(scope="module")
def on_threads(
    archive: Path,
    server_settings: local_servers.ServerSettings,
    prefect_server: LivePrefect,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, bytes]:
    """What the run on threads leaves."""
    undisturbed = bench(archive, tmp_path_factory.mktemp("threads") / "store", server_settings, OMP_NUM_THREADS="2")
    started = time.monotonic()
    done = undisturbed.segment(shard_size=SHARD_SIZE, views=VIEWS)
    assert done.returncode == 0, done.stdout + done.stderr
    told(f"threads: {IMAGES} images in {time.monotonic() - started:.1f} s")
    assert len(undisturbed.recorded()) == SHARDS
    return undisturbed.harvest()


def told(line: str) -> None:
    """Figures for whoever runs this at size, with -s."""
    print(line, flush=True)


def test_a_worker_killed_in_the_middle_costs_a_shard_and_changes_no_byte(
    on_threads: dict[str, bytes], archive: Path, server_settings: local_servers.ServerSettings, tmp_path: Path
) -> None:
    with dask_cluster(tmp_path / "dask", server_settings.environment() | {"PLANKSEG_DEVICE": "cpu"}) as cluster:
        running = bench(
            archive, tmp_path / "store", server_settings, PLANKSEG_RUNNER="dask", PLANKSEG_DASK_ADDRESS=cluster.address
        )
        started = time.monotonic()
        process = running.start(tmp_path / "log", shard_size=SHARD_SIZE, views=VIEWS)
        log = (tmp_path / "log").read_text
        until(lambda: len(running.recorded()) >= SHARDS // 3, what=log, timeout_s=TIMEOUT_S)
        before = len(running.recorded())
        victim = cluster.processes[1]
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        killed_at = time.monotonic() - started
        assert end_of(process, tmp_path / "log", silent_s=TIMEOUT_S) == 0, log()
    told(
        f"dask, one of two workers killed after {killed_at:.1f} s and {before} of {SHARDS} shards: "
        f"{time.monotonic() - started:.1f} s"
    )
    assert 0 < before < SHARDS
    assert len(running.recorded()) == len(set(running.recorded())) == SHARDS
    assert running.harvest() == on_threads


def test_the_scheduler_killed_in_the_middle_is_said_plainly_and_a_run_again_completes(
    on_threads: dict[str, bytes], archive: Path, server_settings: local_servers.ServerSettings, tmp_path: Path
) -> None:
    with dask_cluster(tmp_path / "dask", server_settings.environment() | {"PLANKSEG_DEVICE": "cpu"}) as cluster:
        running = bench(
            archive, tmp_path / "store", server_settings, PLANKSEG_RUNNER="dask", PLANKSEG_DASK_ADDRESS=cluster.address
        )
        process = running.start(tmp_path / "log", shard_size=SHARD_SIZE, views=VIEWS)
        log = (tmp_path / "log").read_text
        until(lambda: len(running.recorded()) >= 2, what=log, timeout_s=TIMEOUT_S)
        cluster.scheduler.send_signal(signal.SIGKILL)
        assert end_of(process, tmp_path / "log", silent_s=90) == 1, log()
        assert f"The Dask scheduler {cluster.address} went away" in log()
        assert "run this again" in log()
    assert 2 <= len(running.recorded()) < SHARDS
    again = Bench(running.store, server_settings)  # on threads: who did a shard makes no difference
    done = again.segment(shard_size=SHARD_SIZE, views=VIEWS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(again.recorded()) == len(set(again.recorded())) == SHARDS
    assert again.harvest() == on_threads


def test_a_round_that_workers_scored_is_the_one_that_was_scored_here_to_the_last_bit(
    archive: Path, server_settings: local_servers.ServerSettings, prefect_server: LivePrefect, tmp_path: Path
) -> None:
    recipe = SMALL.model_copy(
        update={"query": QueryConfig(batches=6, batch_size=5), "inference": InferenceConfig(backend="folded")}
    )
    here = bench(archive, tmp_path / "here", server_settings, OMP_NUM_THREADS="2")
    alone(CHOOSE, recipe.model_dump_json(), environment=here.environment)
    with dask_cluster(tmp_path / "dask", server_settings.environment() | {"PLANKSEG_DEVICE": "cpu"}) as cluster:
        there = bench(
            archive, tmp_path / "there", server_settings, PLANKSEG_RUNNER="dask", PLANKSEG_DASK_ADDRESS=cluster.address
        )
        output = alone(CHOOSE, recipe.model_dump_json(), environment=there.environment)
    assert "2 Dask workers" in output
    for table, columns in (("scores", ["key", "image_id", "score"]), ("proposals", CHOICE)):
        rows = [
            running.store.tables.read(table, columns=columns)
            .sort_by([(name, "ascending") for name in columns])
            .to_pylist()
            for running in (here, there)
        ]
        assert rows[0] == rows[1]
        assert len(rows[0]) >= 12, "at least two shards"


def test_without_an_address_workers_of_this_machine_do_it_and_listen_on_loopback_alone(
    on_threads: dict[str, bytes], archive: Path, server_settings: local_servers.ServerSettings, tmp_path: Path
) -> None:
    here = bench(archive, tmp_path / "store", server_settings, PLANKSEG_RUNNER="dask")
    process = here.start(tmp_path / "log", shard_size=SHARD_SIZE, views=VIEWS)
    log = (tmp_path / "log").read_text
    try:
        until(lambda: here.recorded() or process.poll() is not None, what=log, timeout_s=TIMEOUT_S)
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        ports = [
            connection.laddr
            for each in family
            for connection in each.net_connections()
            if connection.status == psutil.CONN_LISTEN
        ]
        assert len(ports) > 2, "a scheduler and at least one worker with its nanny"
        assert {at.ip for at in ports} == {"127.0.0.1"}
        assert end_of(process, tmp_path / "log", silent_s=TIMEOUT_S) == 0, log()
    finally:
        local_servers.end(process)
    until(lambda: not any(each.is_running() for each in family[1:]), what=lambda: f"left of {family}", timeout_s=30)
    assert here.harvest() == on_threads
