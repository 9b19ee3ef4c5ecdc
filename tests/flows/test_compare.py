"""A grid through the real Prefect: killed in the middle it ends with the same table; a failing run stops no other."""

import json
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from plankseg import local_servers
from plankseg.storage.store import Store
from tests.support.live_servers import LivePrefect
from tests.support.prefect_api import post
from tests.support.small_world import World
from tests.support.subprocess_flow import SUPPORT, run_flow

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(900)]

DRIVER = SUPPORT / "killed_compare.py"


@dataclass(frozen=True)
class Bench:
    """A store of its own and the shared Prefect server."""

    store: Store
    server_settings: local_servers.ServerSettings

    def compare(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = self.server_settings.environment() | {
            "PLANKSEG_STORE": str(self.store.root),
            "PLANKSEG_DEVICE": "cpu",
        }
        return run_flow(DRIVER, *arguments, environment=environment)

    def artifact_sizes(self) -> dict[str, int]:
        """Characters of what the last run showed, by key."""
        asked = {"artifacts": {"key": {"like_": "compare-tiny"}}}
        found = post(self.server_settings, "artifacts/latest/filter", asked)
        return {artifact["key"]: len(str(artifact["data"])) for artifact in found.json()}

    def table(self) -> list[dict[str, object]]:
        """The newest table artifact, without what depends on the clock."""
        asked = {"artifacts": {"key": {"any_": ["compare-tiny"]}}}
        found = post(self.server_settings, "artifacts/latest/filter", asked)
        (artifact,) = found.json()
        return [
            {name: value for name, value in row.items() if name != "minutes"} for row in json.loads(artifact["data"])
        ]

    def candidates(self) -> list[tuple[str | None, str]]:
        return sorted((row.candidate, row.model_id) for row in self.store.models.candidates("tiny"))


@pytest.fixture
def bench(
    world: World, server_settings: local_servers.ServerSettings, prefect_server: LivePrefect, tmp_path: Path
) -> Bench:
    return Bench(world.copy(tmp_path / "store"), server_settings)


def test_killed_in_the_second_run_it_goes_on_there_and_the_table_is_the_same(
    bench: Bench, world: World, tmp_path: Path
) -> None:
    killed = bench.compare("4")
    assert killed.returncode == -signal.SIGKILL, killed.stdout + killed.stderr
    assert len(bench.candidates()) == 1
    again = bench.compare("0")
    output = again.stdout + again.stderr
    assert again.returncode == 0, output
    assert output.count("epoch 1:") == 0, "the first run is not repeated, the third goes on"
    assert output.count("epoch 2:") == output.count("epoch 3:") == 1
    table, candidates = bench.table(), bench.candidates()
    assert [row["place"] for row in table] == [1, 2, ""]
    assert "diverged" in str(table[-1]["model"])
    assert bench.store.models.of_round(0) is not None, "model 0 is untouched"
    assert (bench.store.work_dir("reports") / "compare-tiny.html").read_text().count("<img") == 1 + 12 * 3
    sizes = bench.artifact_sizes()
    assert sizes.keys() == {"compare-tiny", "compare-tiny-curves", "compare-tiny-gallery", "compare-tiny-rivals"}
    assert max(sizes.values()) < 200_000

    calm = Bench(world.copy(tmp_path / "calm"), bench.server_settings)
    side_by_side = calm.compare("0", "2")
    assert side_by_side.returncode == 0, side_by_side.stdout + side_by_side.stderr
    assert (calm.candidates(), calm.table()) == (candidates, table)
