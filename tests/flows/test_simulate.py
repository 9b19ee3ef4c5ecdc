"""A simulation through the real Prefect: killed, or with arms side by side, it ends with the same record."""

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from plankseg import local_servers
from plankseg.imaging.synthetic.demo_domains import write_domains
from tests.support.live_servers import LivePrefect
from tests.support.prefect_api import post
from tests.support.subprocess_flow import SUPPORT, run_flow

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(900)]

DRIVER = SUPPORT / "killed_simulate.py"


def records(folder: Path) -> list[dict[str, Any]]:
    """What was simulated, without what depends on the clock."""
    found = json.loads((folder / f"{folder.name}.json").read_text())["records"]
    for record in found:
        for round_found in record["rounds"]:
            del round_found["seconds"]
    return sorted(found, key=lambda record: record["arm"])


def test_a_killed_simulation_and_one_side_by_side_end_with_the_same_record(
    server_settings: local_servers.ServerSettings, prefect_server: LivePrefect, tmp_path: Path
) -> None:
    images = tmp_path / "images"
    write_domains(images, source=30, pool=24, validation=12)
    environment = server_settings.environment() | {"PLANKSEG_DEVICE": "cpu"}

    def run(epochs: int, folder: str, *more: str) -> "subprocess.CompletedProcess[str]":
        return run_flow(DRIVER, str(epochs), str(tmp_path / folder), str(images), *more, environment=environment)

    killed = run(3, "killed")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (tmp_path / "killed" / "killed.json").exists()
    again = run(0, "killed")
    assert again.returncode == 0, again.stderr
    beside = run(0, "beside", "2")
    assert beside.returncode == 0, beside.stderr
    ended = records(tmp_path / "killed")
    assert [(record["arm"], len(record["rounds"])) for record in ended] == [("power", 2), ("random", 2)]
    assert records(tmp_path / "beside") == ended

    asked = {"artifacts": {"key": {"any_": ["simulate-beside", "simulate-beside-curves"]}}}
    shown = {artifact["key"]: artifact for artifact in post(server_settings, "artifacts/latest/filter", asked).json()}
    table = json.loads(shown["simulate-beside"]["data"])
    assert {row["way"] for row in table} == {"random", "power"}
    assert len(str(shown["simulate-beside-curves"]["data"])) < 200_000
