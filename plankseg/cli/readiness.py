"""What `plankseg up` says: which server answers, and when all do, a box with addresses, log-ins and logs.

A process beside the servers, started by deployments/Procfile: it looks until all are ready, and then sleeps until it is
ended with them.
"""

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import httpx
from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table

from plankseg import local_servers
from plankseg.local_servers import HOST, Credentials, ServerSettings, ensure_credentials

LOOK_EVERY_S = 0.5
WORKER = "plankseg"
"""The worker's name in its pool; it starts when every flow is deployed."""


def served_by(environment: Mapping[str, str]) -> ServerSettings:
    """The addresses that `plankseg up` gave its servers."""
    return ServerSettings(
        Path(environment["PLANKSEG_DIR"]),
        int(environment["PREFECT_PORT"]),
        int(environment["LABEL_STUDIO_PORT"]),
        int(environment["RELAY_PORT"]),
        int(environment["ASSISTANT_PORT"]),
        bucket=location if "://" in (location := environment["PLANKSEG_STORE"]) else None,
    )


def answers(url: str) -> bool:
    """Whether somebody answers there with 200."""
    try:
        return httpx.get(url, timeout=5, trust_env=False).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def has_worker(served: ServerSettings, credentials: Credentials) -> bool:
    """Whether our worker waits for runs."""
    user, _, password = credentials.prefect_login.partition(":")
    url = f"{served.prefect_url}/api/work_pools/local/workers/filter"
    try:
        answer = httpx.post(url, json={}, auth=(user, password), timeout=5, trust_env=False)
        return answer.is_success and any(row["name"] == WORKER and row["status"] == "ONLINE" for row in answer.json())
    except httpx.HTTPError:
        return False


def parts(served: ServerSettings, credentials: Credentials) -> dict[str, Callable[[], bool]]:
    """Every part that must be ready, and how that is seen."""
    return {
        "Prefect": lambda: answers(f"{served.prefect_url}/api/health"),
        "Label Studio": lambda: answers(f"{served.label_studio_url}/health"),
        "webhook relay": lambda: answers(f"http://{HOST}:{served.relay_port}/health"),
        "assistant": lambda: answers(f"http://{HOST}:{served.assistant_port}/health"),
        "worker with every flow": lambda: has_worker(served, credentials),
    }


def wait_until_ready(waiting: dict[str, Callable[[], bool]], console: Console) -> None:
    """Wait for all parts, and say which are ready as they come."""
    started = time.monotonic()
    while waiting:
        for name in [name for name, is_ready in waiting.items() if is_ready()]:
            del waiting[name]
            console.print(f"  {name} is ready after {time.monotonic() - started:.0f} s", highlight=False)
        time.sleep(LOOK_EVERY_S if waiting else 0)


def box(served: ServerSettings, credentials: Credentials, *, with_log_ins: bool) -> Panel:
    """Where everything is, and what to do next."""
    rows = Table.grid(padding=(0, 2))
    rows.add_column(no_wrap=True)
    rows.add_column(overflow="fold")  # a long path goes on below its beginning
    rows.add_row("Label Studio", f"{served.label_studio_url}   here you correct masks")
    if with_log_ins:
        rows.add_row("  log-in", f"{credentials.email}   {credentials.password}")
    rows.add_row("Prefect", f"{served.prefect_url}   here you start and watch flows")
    if with_log_ins:
        rows.add_row("  log-in", credentials.prefect_login)
    rows.add_row()
    rows.add_row("Log-ins", f"{served.directory / 'credentials.env'}\n(only your user account can read it)")
    rows.add_row("Store", served.store_location)
    rows.add_row("Logs", str(served.directory / "logs"))
    next_steps = (
        "\nFirst time? Open Prefect, Deployments, ingest, Run, Custom run.\n"
        "Ctrl-C ends it all. A run that is cut off goes on at the next start."
    )
    return Panel.fit(Group(rows, next_steps), title="ready", highlight=False)


def main() -> None:
    """Say that all servers are ready, and wait to be ended."""
    local_servers.die_with_parent()
    served = served_by(os.environ)
    credentials = ensure_credentials(served.directory)
    width = os.environ.get(local_servers.UP_AT_TERMINAL)
    console = Console(width=max(int(width or 0), 80), markup=False, force_terminal=bool(width))
    wait_until_ready(parts(served, credentials), console)
    console.print(box(served, credentials, with_log_ins=width is not None))
    os.execvp("sleep", ["sleep", "infinity"])  # noqa: S606  (this process's memory is given back)
