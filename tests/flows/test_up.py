"""`make up` serves everything on loopback, and a flow started as from the Prefect UI does its work."""

import stat
import subprocess
from collections.abc import Iterator
from datetime import datetime

import psutil
import pytest

from plankseg import local_servers
from plankseg.imaging.synthetic.demo_domains import write_domains
from plankseg.storage.store import Store
from tests.support.prefect_api import post, run, serve_up, until

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def up(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[local_servers.ServerSettings, subprocess.Popen[bytes]]]:
    """`plankseg up` in a working directory of its own, ended by Ctrl-C."""
    with serve_up(tmp_path_factory.mktemp("up")) as served:
        yield served


def test_everything_listens_on_loopback_only(up: tuple[local_servers.ServerSettings, subprocess.Popen[bytes]]) -> None:
    at, process = up
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    listening = {
        (connection.laddr.ip, connection.laddr.port)
        for member in family
        for connection in member.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert {("127.0.0.1", port) for port in (at.prefect_port, at.label_studio_port, at.relay_port)} <= listening
    assert {address for address, _ in listening} == {"127.0.0.1"}


def test_the_addresses_are_printed_and_the_log_ins_stand_in_no_log(
    up: tuple[local_servers.ServerSettings, subprocess.Popen[bytes]],
) -> None:
    at, _ = up
    printed = (at.directory.parent / "log").read_text()
    credentials = local_servers.ensure_credentials(at.directory)
    assert at.prefect_url in printed
    assert at.label_studio_url in printed
    assert "credentials.env" in printed, "this is no terminal: it says where they are"
    assert stat.S_IMODE((at.directory / "credentials.env").stat().st_mode) == 0o600
    logs = [printed, *(path.read_text(errors="replace") for path in at.directory.rglob("*.log"))]
    secret = [
        credentials.password,
        credentials.token,
        credentials.webhook_secret,
        credentials.prefect_login.split(":")[1],
    ]
    assert not [word for word in secret for log in logs if word in log]


def test_the_clock_has_its_next_ticks_in_the_schedule(
    up: tuple[local_servers.ServerSettings, subprocess.Popen[bytes]],
) -> None:
    at, _ = up

    def ticks() -> list[str]:
        asked = {
            "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}},
            "deployments": {"name": {"any_": ["clock"]}},
        }
        planned = post(at, "flow_runs/filter", asked | {"sort": "EXPECTED_START_TIME_ASC"}).json()
        return [run["expected_start_time"] for run in planned]

    until(lambda: len(ticks()) > 1, what=lambda: "Prefect's scheduler planned nothing", timeout_s=90)
    first, second = (datetime.fromisoformat(tick) for tick in ticks()[:2])
    assert (second - first).total_seconds() == 300


def test_flows_started_from_the_ui_do_their_work_and_say_what_is_due(
    up: tuple[local_servers.ServerSettings, subprocess.Popen[bytes]],
) -> None:
    at, _ = up
    folders = write_domains(at.directory / "images", source=3, pool=3, validation=3)
    ended = run(at, "ingest", {"images": {"folder": str(folders.source), "role": "source"}})
    assert ended["state_type"] == "COMPLETED", ended
    assert ended["name"] == "ingest source"
    assert Store.open(at.store).catalogue.counts()["source"] == 3
    advanced = run(at, "advance", {})
    assert advanced["state_type"] == "COMPLETED", advanced
    assert "pretrain" in str(advanced["state"])
