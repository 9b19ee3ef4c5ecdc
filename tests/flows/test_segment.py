"""The harvest through the real Prefect: killed anywhere and run again, it is the undisturbed one, byte for byte."""

import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from rounds.ecotaxa_rules import complaints
from segment_bench import Bench
from small_world import World

from flows.demo import LAPTOP
from plankseg import serving
from plankseg.config import Settings
from plankseg.storage.store import Store

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(900)]


def finished_shards(done: subprocess.CompletedProcess[str]) -> int:
    return (done.stdout + done.stderr).count("images/s")


@pytest.fixture(scope="module")
def calm(
    world: World,
    surroundings: serving.Surroundings,
    prefect_server: serving.Server,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, bytes]:
    """What an undisturbed run leaves."""
    bench = Bench(world.copy(tmp_path_factory.mktemp("calm") / "store"), surroundings)
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
    surroundings: serving.Surroundings,
    tmp_path: Path,
) -> None:
    bench = Bench(world.copy(tmp_path / "store"), surroundings)
    killed = bench.segment(point, count)
    assert killed.returncode == -signal.SIGKILL, killed.stdout + killed.stderr
    again = bench.segment("nowhere")
    assert again.returncode == 0, again.stdout + again.stderr
    assert finished_shards(again) == left
    assert bench.harvest() == calm


@pytest.mark.real_data
@pytest.mark.timeout(2400)  # a training and four passes over 1,468 images, beside another worker's tests
def test_real_vignettes_killed_half_way_end_as_the_undisturbed_run(
    real_data: Path, surroundings: serving.Surroundings, prefect_server: serving.Server, tmp_path: Path
) -> None:
    """A demo model on ScanCol crops over all of the ZooScanNet sample."""
    from plankseg.rounds.fitting import fit
    from plankseg.rounds.ingesting import ingest_folder

    store = Store.open(tmp_path / "store")
    ingest_folder(store, real_data / "scancol24-zooplankton" / "images", role="source")
    fit(store, LAPTOP, Settings(store=str(store.root), device="cpu"), round_number=0)
    ingest_folder(store, real_data / "zooscannet-sample" / "imgs", role="pool")
    images = len(store.catalogue.roles())
    shutil.copytree(store.root, tmp_path / "calm")
    calm = Bench(Store.open(tmp_path / "calm"), surroundings)
    done = calm.segment("nowhere", shard_size=300)
    assert done.returncode == 0, done.stdout + done.stderr
    shards = finished_shards(done)
    assert shards == -(-images // 300)
    assert complaints(sorted((tmp_path / "calm" / "exports").glob("*.zip"))) == []

    bench = Bench(store, surroundings)
    killed = bench.segment("masks", images // 2, shard_size=300)
    assert killed.returncode == -signal.SIGKILL, killed.stdout + killed.stderr
    again = bench.segment("nowhere", shard_size=300)
    assert again.returncode == 0, again.stdout + again.stderr
    assert 0 < finished_shards(again) < shards
    assert bench.harvest() == calm.harvest()
