"""`plankseg up` in a working directory of a test's own, and what its Prefect server is asked for."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from plankseg import local_servers

FLOWS = {"ingest", "pretrain", "propose", "collect", "retrain", "advance"}


@contextmanager
def serve_up(folder: Path) -> Iterator[tuple[local_servers.ServerSettings, "subprocess.Popen[bytes]"]]:
    """`plankseg up`, ended by Ctrl-C; nothing of it may be left."""
    at = local_servers.ServerSettings(
        folder / "work",
        local_servers.free_port(),
        local_servers.free_port(),
        local_servers.free_port(),
        local_servers.free_port(),
    )
    environment = os.environ | {
        "PREFECT_PORT": str(at.prefect_port),
        "LABEL_STUDIO_PORT": str(at.label_studio_port),
        "RELAY_PORT": str(at.relay_port),
        "ASSISTANT_PORT": str(at.assistant_port),
    }
    plankseg = str(Path(sys.executable).parent / "plankseg")

    def printed() -> str:
        return (folder / "log").read_text()

    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [plankseg, "up", "--directory", str(at.directory)],
            env=environment,
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        family = [process.pid]
        try:
            until(lambda: "─ ready ─" in printed(), what=lambda: printed() + logs_of(at))
            assert deployments(at) >= FLOWS
            for port in (at.label_studio_port, at.relay_port, at.assistant_port):
                assert answers(f"http://127.0.0.1:{port}/health")
            family += [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
            yield at, process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGINT)
                process.wait(60)
        until(lambda: not any(psutil.pid_exists(pid) for pid in family), what=lambda: f"left of {family}")


def logs_of(at: local_servers.ServerSettings) -> str:
    """The end of each server's log."""
    logs = sorted((at.directory / "logs").glob("*.log"))
    return "".join(f"\n== {log.name}\n{log.read_text(errors='replace')[-2000:]}" for log in logs)


LOOK_EVERY_S = 5.0


def until(is_so: Callable[[], object], *, what: Callable[[], str], timeout_s: float = 240.0) -> None:
    """Wait for something for as long as what is seen goes on changing, and say what was seen if nothing does any more.

    A busy machine may take many times as long as a quiet one; `timeout_s` is the longest time without any change. The
    timeout of the test itself ends a wait in which something changes for ever.
    """
    seen, last_change = what_is_seen(what), time.monotonic()
    next_look = last_change + LOOK_EVERY_S
    while not is_so():
        now = time.monotonic()
        if now >= min(next_look, last_change + timeout_s):
            seen_now = what_is_seen(what)
            if seen_now != seen:
                seen, last_change = seen_now, now
            assert now < last_change + timeout_s, f"nothing has changed for {timeout_s:.0f} s:\n{seen_now}"
            next_look = now + LOOK_EVERY_S
        time.sleep(0.25)


def what_is_seen(what: Callable[[], str]) -> str:
    """What there is to be seen now, or why nothing is: a server may be away, a log not begun."""
    try:
        return what()
    except (OSError, httpx.HTTPError) as error:
        return repr(error)


def answers(url: str) -> bool:
    """Whether somebody answers there with 200."""
    try:
        return httpx.get(url, timeout=5, trust_env=False).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def log_in(at: local_servers.ServerSettings) -> tuple[str, str]:
    """User and password of the Prefect server, as httpx takes them."""
    user, _, password = local_servers.ensure_credentials(at.directory).prefect_login.partition(":")
    return user, password


def get(at: local_servers.ServerSettings, path: str) -> Any:
    """What the Prefect server has there."""
    url = f"{at.prefect_url}/api/{path}"
    return httpx.get(url, auth=log_in(at), timeout=30, trust_env=False).raise_for_status().json()


def post(at: local_servers.ServerSettings, path: str, body: dict[str, object]) -> httpx.Response:
    """Ask the Prefect server, as its UI does; again where its database was busy, as Prefect's own client would."""
    for _ in range(20):
        answer = httpx.post(f"{at.prefect_url}/api/{path}", auth=log_in(at), json=body, timeout=30, trust_env=False)
        if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
            break
        time.sleep(0.5)
    return answer.raise_for_status()


def deployments(at: local_servers.ServerSettings, *, name: str | None = None) -> set[str]:
    """The flows that can be started in the UI, by deployments of that name."""
    if not answers(f"{at.prefect_url}/api/health"):
        return set()
    asked = {"deployments": {"name": {"any_": [name]}}} if name else {}
    deployed = post(at, "deployments/filter", asked).json()  # first: every one of these has its flow by then
    by_id = {flow["id"]: flow["name"] for flow in post(at, "flows/filter", {}).json()}
    return {by_id[deployment["flow_id"]] for deployment in deployed}


def run(at: local_servers.ServerSettings, flow: str, parameters: dict[str, object]) -> dict[str, object]:
    """Start a deployment and wait for its end."""
    deployment = get(at, f"deployments/name/{flow}/{flow}")
    started = post(at, f"deployments/{deployment['id']}/create_flow_run", {"parameters": parameters}).json()
    seen: dict[str, object] = {}

    def has_ended() -> bool:
        seen.update(get(at, f"flow_runs/{started['id']}"))
        return seen["state_type"] in {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}

    until(has_ended, what=lambda: f"{seen.get('state_name')}\n{log_of(at, started['id'])}")
    return seen


def log_of(at: local_servers.ServerSettings, run_id: str) -> str:
    """What a run and the runs that it called wrote."""
    below = post(at, "flow_runs/filter", {"flow_runs": {"parent_flow_run_id": {"any_": [run_id]}}}).json()
    asked = {"logs": {"flow_run_id": {"any_": [run_id, *(run["id"] for run in below)]}}, "limit": 200}
    return "\n".join(row["message"] for row in post(at, "logs/filter", asked).json())


def runs(at: local_servers.ServerSettings, flow: str) -> list[dict[str, object]]:
    """Every run of a flow that began, the newest last."""
    asked = {"flows": {"name": {"any_": [flow]}}, "sort": "START_TIME_ASC"}
    return [run for run in post(at, "flow_runs/filter", asked).json() if run["start_time"]]


def tick_every(at: local_servers.ServerSettings, seconds: int | None) -> None:
    """Change the schedule of `advance/advance_regularly`, as a person does in the UI; None stops it."""
    until(lambda: "advance" in deployments(at, name="advance_regularly"), what=lambda: "the clock is not deployed")
    clock = get(at, "deployments/name/advance/advance_regularly")
    body: dict[str, object] = {"active": seconds is not None}
    if seconds is not None:
        body["schedule"] = {"interval": seconds}
    patch(at, f"deployments/{clock['id']}/schedules/{clock['schedules'][0]['id']}", body)


def patch(at: local_servers.ServerSettings, path: str, body: dict[str, object]) -> None:
    """Change something of the Prefect server; again where its database was busy."""

    def is_taken() -> bool:
        url = f"{at.prefect_url}/api/{path}"
        answer = httpx.patch(url, auth=log_in(at), json=body, timeout=30, trust_env=False)
        return answer.status_code != httpx.codes.SERVICE_UNAVAILABLE and answer.raise_for_status().is_success

    until(is_taken, what=lambda: "Prefect's database stays busy", timeout_s=60)
