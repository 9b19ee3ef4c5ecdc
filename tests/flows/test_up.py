"""`make up` serves everything on loopback, and a flow started as from the Prefect UI does its work."""

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from plankseg import serving
from plankseg.domains import write_domains
from plankseg.storage.store import Store

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(600)]
FLOWS = {"ingest", "pretrain", "propose", "collect", "retrain", "advance"}


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[serving.Surroundings, subprocess.Popen[bytes]]]:
    """`plankseg up` in a working directory of its own, ended by Ctrl-C."""
    folder = tmp_path_factory.mktemp("up")
    at = serving.Surroundings(folder / "work", serving.free_port(), serving.free_port())
    environment = os.environ | {"PREFECT_PORT": str(at.prefect_port), "LABEL_STUDIO_PORT": str(at.label_studio_port)}
    plankseg = str(Path(sys.executable).parent / "plankseg")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [plankseg, "up", "--directory", str(at.directory)],
            env=environment, cwd=folder, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        family = [process.pid]
        try:
            until(lambda: deployments(at) >= FLOWS, what=lambda: (folder / "log").read_text()[-3000:])
            until(lambda: answers(f"{at.label_studio_url}/health"), what=lambda: (folder / "log").read_text()[-3000:])
            family += [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
            yield at, process
        finally:
            os.killpg(process.pid, signal.SIGINT)
            process.wait(60)
        until(lambda: not any(psutil.pid_exists(pid) for pid in family), what=lambda: f"left of {family}")


def until(is_so, *, what, timeout_s: float = 240.0) -> None:  # type: ignore[no-untyped-def]
    """Wait for something, and say what was seen if it does not come."""
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline, what()
        time.sleep(0.5)


def answers(url: str) -> bool:
    """Whether somebody answers there with 200."""
    try:
        return httpx.get(url, timeout=5, trust_env=False).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def post(at: serving.Surroundings, path: str, body: dict[str, object]) -> httpx.Response:
    """Ask the Prefect server, as its UI does."""
    return httpx.post(f"{at.prefect_url}/api/{path}", json=body, timeout=30, trust_env=False).raise_for_status()


def deployments(at: serving.Surroundings) -> set[str]:
    """The flows that can be started in the UI."""
    if not answers(f"{at.prefect_url}/api/health"):
        return set()
    by_id = {flow["id"]: flow["name"] for flow in post(at, "flows/filter", {}).json()}
    return {by_id[deployment["flow_id"]] for deployment in post(at, "deployments/filter", {}).json()}


def run(at: serving.Surroundings, flow: str, parameters: dict[str, object]) -> dict[str, object]:
    """Start a deployment and wait for its end."""
    deployment = httpx.get(f"{at.prefect_url}/api/deployments/name/{flow}/plankseg", timeout=30, trust_env=False).json()
    started = post(at, f"deployments/{deployment['id']}/create_flow_run", {"parameters": parameters}).json()
    seen: dict[str, object] = {}

    def has_ended() -> bool:
        url = f"{at.prefect_url}/api/flow_runs/{started['id']}"
        seen.update(httpx.get(url, timeout=30, trust_env=False).json())
        return seen["state_type"] in {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}

    until(has_ended, what=lambda: str(seen))
    return seen


def test_everything_listens_on_loopback_only(up: tuple[serving.Surroundings, subprocess.Popen[bytes]]) -> None:
    at, process = up
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    listening = {
        (connection.laddr.ip, connection.laddr.port)
        for member in family
        for connection in member.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert {("127.0.0.1", at.prefect_port), ("127.0.0.1", at.label_studio_port)} <= listening
    assert {address for address, _ in listening} == {"127.0.0.1"}


def test_the_log_in_is_printed_and_kept_for_the_owner_alone(
    up: tuple[serving.Surroundings, subprocess.Popen[bytes]],
) -> None:
    at, _ = up
    printed = (at.directory.parent / "log").read_text()
    credentials = serving.ensure_credentials(at.directory)
    assert at.prefect_url in printed
    assert at.label_studio_url in printed
    assert credentials.password in printed
    assert stat.S_IMODE((at.directory / "credentials.env").stat().st_mode) == 0o600


def test_flows_started_from_the_ui_do_their_work_and_say_what_is_due(
    up: tuple[serving.Surroundings, subprocess.Popen[bytes]],
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
