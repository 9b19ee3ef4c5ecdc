"""The harvest through the real Prefect: killed anywhere and run again, it is the undisturbed one, byte for byte."""

import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from flows.demo import SYNTHETIC
from plankseg import local_servers
from plankseg.config import FinalConfig, InferenceConfig, Settings
from plankseg.storage.store import Store
from tests.support.ecotaxa_rules import complaints
from tests.support.little_store import add_answers, add_proposal
from tests.support.live_servers import LivePrefect
from tests.support.segment_harness import Bench
from tests.support.small_world import World

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(900)]


def finished_shards(done: subprocess.CompletedProcess[str]) -> int:
    return (done.stdout + done.stderr).count("images/s")


@pytest.fixture(scope="module")
def calm(
    world: World,
    server_settings: local_servers.ServerSettings,
    prefect_server: LivePrefect,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, bytes]:
    """What an undisturbed run leaves."""
    bench = Bench(world.copy(tmp_path_factory.mktemp("calm") / "store"), server_settings)
    done = bench.segment("nowhere")
    assert done.returncode == 0, done.stdout + done.stderr
    assert finished_shards(done) == 4
    zips = sorted((bench.store.root / "exports").glob("*.zip"))
    assert len(zips) == 1
    assert complaints(zips) == []
    again = bench.segment("nowhere")
    assert (again.returncode, finished_shards(again)) == (0, 0), "nothing is done twice"
    return bench.harvest()


@pytest.mark.parametrize(
    ("point", "count", "left"),
    [("masks", 45, 3), ("after the record", 2, 2), ("zip", 40, 0)],
)
def test_killed_anywhere_the_harvest_is_the_same_and_no_shard_is_done_twice(
    point: str,
    count: int,
    left: int,
    calm: dict[str, bytes],
    world: World,
    server_settings: local_servers.ServerSettings,
    tmp_path: Path,
) -> None:
    bench = Bench(world.copy(tmp_path / "store"), server_settings)
    killed = bench.segment(point, count)
    assert killed.returncode == -signal.SIGKILL, killed.stdout + killed.stderr
    again = bench.segment("nowhere")
    assert again.returncode == 0, again.stdout + again.stderr
    assert finished_shards(again) == left
    assert bench.harvest() == calm


def answer(store: Store, image_ids: Sequence[str]) -> None:
    """Round 1, answered: the person takes what is dark."""
    add_proposal(store, 1, image_ids)
    for image_id in image_ids:
        grey = store.catalogue.load(image_id)
        add_answers(store, 1, [image_id], mask=grey < 200)


def finalizing(final: FinalConfig) -> dict[str, str]:
    """Variables with which the driver runs a last training before it segments."""
    return {"FINALIZE": final.model_dump_json()}


FINAL = finalizing(FinalConfig(side_px=64, batch_size=4, epochs=3))


@pytest.fixture(scope="module")
def calm_final(
    world: World,
    server_settings: local_servers.ServerSettings,
    prefect_server: LivePrefect,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, bytes]:
    """What an undisturbed last training and the harvest after it leave."""
    bench = answered_bench(world, server_settings, tmp_path_factory.mktemp("final"))
    done = bench.segment("nowhere")
    assert done.returncode == 0, done.stdout + done.stderr
    return bench.harvest()


def answered_bench(world: World, server_settings: local_servers.ServerSettings, folder: Path) -> Bench:
    bench = Bench(world.copy(folder / "store"), server_settings, FINAL)
    answer(bench.store, bench.store.catalogue.ids("pool")[:4])
    return bench


@pytest.mark.parametrize(("point", "count"), [("epoch", 2), ("after the model", 1)])
def test_killed_in_the_last_training_it_goes_on_and_the_final_model_makes_the_same_masks(
    point: str,
    count: int,
    calm_final: dict[str, bytes],
    world: World,
    server_settings: local_servers.ServerSettings,
    tmp_path: Path,
) -> None:
    bench = answered_bench(world, server_settings, tmp_path)
    killed = bench.segment(point, count)
    assert killed.returncode == -signal.SIGKILL, killed.stdout + killed.stderr
    again = bench.segment("nowhere")
    assert again.returncode == 0, again.stdout + again.stderr
    repeated = [line for line in (again.stdout + again.stderr).splitlines() if "epoch 1:" in line]
    assert not repeated, "the training went on, it did not begin anew"
    (model,) = bench.store.models.candidates("final")
    assert {row["model_id"] for row in bench.store.tables.read("segments").to_pylist()} == {model.model_id}
    assert bench.harvest() == calm_final


def every_second(images: Path, folder: Path) -> None:
    """Copy half of the files of a folder, of all its classes."""
    for path in sorted(path for path in images.rglob("*") if path.is_file())[::2]:
        to = folder / path.relative_to(images)
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, to)


@pytest.mark.real_data
@pytest.mark.timeout(2400)  # a training and two passes over 880 images, beside another worker's tests
def test_real_vignettes_killed_half_way_end_as_the_undisturbed_run(
    real_data: Path, server_settings: local_servers.ServerSettings, prefect_server: LivePrefect, tmp_path: Path
) -> None:
    """A demo model on ScanCol crops, a last training with twenty answers, every second image of ZooScanNet's sample."""
    from plankseg.pipeline.ingest.register_images import ingest_folder
    from plankseg.pipeline.training.round_training import fit

    store = Store.open(tmp_path / "store")
    ingest_folder(store, real_data / "scancol24-zooplankton" / "images", role="source")
    plainly = SYNTHETIC.model_copy(update={"inference": InferenceConfig(backend="torch")})  # two stores, so no clock
    fit(store, plainly, Settings(store=str(store.root), device="cpu"), round_number=0)
    every_second(real_data / "zooscannet-sample" / "imgs", tmp_path / "imgs")
    ingest_folder(store, tmp_path / "imgs", role="pool")
    answer(store, store.catalogue.ids("pool")[:20])
    images = len(store.catalogue.roles())
    final = finalizing(FinalConfig(side_px=64, batch_size=8, epochs=2))
    shutil.copytree(store.root, tmp_path / "calm")
    calm = Bench(Store.open(tmp_path / "calm"), server_settings, final)
    done = calm.segment("nowhere", shard_size=300)
    assert done.returncode == 0, done.stdout + done.stderr
    shards = finished_shards(done)
    assert shards == -(-images // 300)
    assert complaints(sorted((tmp_path / "calm" / "exports").glob("*.zip"))) == []

    bench = Bench(store, server_settings, final)
    killed = bench.segment("masks", images // 2, shard_size=300)
    assert killed.returncode == -signal.SIGKILL, killed.stdout + killed.stderr
    again = bench.segment("nowhere", shard_size=300)
    assert again.returncode == 0, again.stdout + again.stderr
    assert 0 < finished_shards(again) < shards
    assert bench.harvest() == calm.harvest()
