"""Killed anywhere while it proposes, `advance` run again leaves twenty tasks, none doubled. Real servers."""

import os
import signal
from pathlib import Path

import pytest

from plankseg import local_servers
from plankseg.labelling.api.client import LabelStudioClient
from tests.support.advance_harness import bench_for, what_is_in
from tests.support.live_servers import LivePrefect
from tests.support.small_world import World

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(900)]
POINTS = [
    "before the proposal's commit",
    "after the proposal's commit",
    "in the middle of the push, images uploaded",
    "in the middle of the push, tasks imported",
    "after the push",
]


@pytest.fixture(scope="module")
def expected(
    world: World,
    server_settings: local_servers.ServerSettings,
    client: LabelStudioClient,
    prefect_server: LivePrefect,
    tmp_path_factory: pytest.TempPathFactory,
) -> object:
    """What an undisturbed run proposes."""
    bench = bench_for(world.copy(tmp_path_factory.mktemp("calm") / "store"), "calm proposal", server_settings, client)
    calm = bench.advance()
    assert calm.returncode == 0, calm.stdout + calm.stderr
    assert len(bench.tasks(1)) == 20
    return what_is_in(bench.store)["proposals"]


@pytest.mark.parametrize("point", POINTS)
def test_a_kill_while_proposing_leaves_twenty_tasks_and_no_double(
    point: str,
    expected: object,
    world: World,
    server_settings: local_servers.ServerSettings,
    client: LabelStudioClient,
    tmp_path: Path,
) -> None:
    bench = bench_for(world.copy(tmp_path / "store"), f"killed {point}"[:50], server_settings, client)
    killed = bench.advance(point)
    assert killed.returncode == -signal.SIGKILL, killed.stdout + killed.stderr
    again = bench.advance()
    assert again.returncode == 0, again.stdout + again.stderr
    assert what_is_in(bench.store)["proposals"] == expected
    assert len(bench.tasks(1)) == 20
    assert bench.tasks(1) == sorted(row.image_id for row in bench.store.proposals.chosen(1))


def test_of_two_advances_at_once_one_works_and_the_other_says_so(
    world: World,
    server_settings: local_servers.ServerSettings,
    client: LabelStudioClient,
    prefect_server: LivePrefect,
    tmp_path: Path,
) -> None:
    bench = bench_for(world.copy(tmp_path / "store"), "two at once", server_settings, client)
    with bench.store.lock("advance"):
        second = bench.advance("nowhere, and in no mood to wait")
    assert second.returncode == 0, second.stderr
    assert "Skipped Another run is at work" in second.stdout
    assert f"process {os.getpid()}" in second.stdout + second.stderr, "for who wants to know which"
    assert bench.store.proposals.rounds() == []


def test_label_studio_down_is_retried_then_said_clearly_and_the_next_run_goes_on(
    world: World,
    server_settings: local_servers.ServerSettings,
    client: LabelStudioClient,
    prefect_server: LivePrefect,
    tmp_path: Path,
) -> None:
    bench = bench_for(world.copy(tmp_path / "store"), "down and up", server_settings, client)
    nobody = f"http://127.0.0.1:{local_servers.free_port()}"
    bench.environment["PLANKSEG_LABEL_STUDIO_URL"] = nobody
    failed = bench.advance()
    assert failed.returncode == 1
    output = failed.stdout + failed.stderr
    assert "LabelStudioDownError" in output
    assert nobody in output
    assert "Retry" in output or "retry" in output
    bench.environment["PLANKSEG_LABEL_STUDIO_URL"] = server_settings.label_studio_url
    again = bench.advance()
    assert again.returncode == 0, again.stdout + again.stderr
    assert bench.tasks(1) == sorted(row.image_id for row in bench.store.proposals.chosen(1))
    assert len(bench.tasks(1)) == 20
