"""All of `plankseg up`, each server apart so that a test can stop it, and one round on it again and again."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from prefect.client.schemas.objects import State
from prefect.events.worker import EventsWorker
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, PREFECT_HOME, temporary_settings

from plankseg import local_servers
from plankseg.config import Settings, settings
from plankseg.labelling.api.client import LabelStudioClient
from plankseg.labelling.testing.simulated_annotator import SimulatedAnnotator
from plankseg.pipeline.annotation.connection import project_of
from plankseg.pipeline.annotation.push_proposals import PushOptions, push
from plankseg.pipeline.reports.status import read_status
from plankseg.storage.store import Store
from tests.support.advance_harness import what_is_in
from tests.support.prefect_api import get, log_of, post, tick_every, until
from tests.support.small_world import World
from tests.support.tiny_recipe import TINY_ROUNDS

TITLE = "plankseg"
CLOCK = "label-studio-is-off-by-s"
# Label Studio in its own environment, told the time by a file that a test can write.
LABEL_STUDIO = """#!{python}
import sys
from pathlib import Path
from datetime import timedelta
from django.utils import timezone
right = timezone.now
timezone.now = lambda: right() + timedelta(seconds=float(Path({clock!r}).read_text()))
from label_studio.server import main
sys.exit(main())
"""
BIN = Path(sys.executable).parent
ENDED = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


class Stage:
    """One working directory with its servers; `snapshot` is a store with round 1 proposed and nothing pushed."""

    def __init__(self, folder: Path, world: World) -> None:
        ports = [local_servers.free_port() for _ in range(4)]
        self.at = local_servers.ServerSettings(folder / "work", *ports[:3])
        self.world = world
        self.snapshot = folder / "proposed"
        self.environment = self.at.environment() | {"PLANKSEG_DEVICE": "cpu", "PLANKSEG_PROJECT": TITLE}
        self.environment["OMP_NUM_THREADS"] = "1"  # as in this process: other sums, other weights
        self.running: dict[str, local_servers.Server] = {}
        self._worker_port = ports[3]
        self._retired = count(1)
        self.at.directory.mkdir(parents=True, exist_ok=True)
        self.set_label_studio_clock(0)
        self.label_studio_program = folder / "label-studio"
        python = local_servers.ROOT / ".venv-label-studio" / "bin" / "python"
        self.label_studio_program.write_text(LABEL_STUDIO.format(python=python, clock=str(self.at.directory / CLOCK)))
        self.label_studio_program.chmod(0o755)

    def prefect_settings(self) -> dict[Any, str]:
        """What makes this process a client of the stage's Prefect."""
        ours = (PREFECT_API_URL, PREFECT_API_AUTH_STRING, PREFECT_HOME)
        return {setting: self.environment[setting.name] for setting in ours}

    # --- servers -----------------------------------------------------------------------------------------------------

    def start(self, name: str) -> None:
        """Start one of Prefect, worker, Label Studio, relay; it may not answer yet."""
        logs = self.at.directory / "logs"
        match name:
            case "Prefect":
                self.running[name] = local_servers.start_prefect(self.at)
            case "Label Studio":
                self.running[name] = local_servers.start_label_studio(self.at)
            case "worker":
                command = [BIN / "prefect", "worker", "start", "--pool", "local", "--name", TITLE, "--with-healthcheck"]
                port = {"PREFECT_WORKER_WEBSERVER_PORT": str(self._worker_port)}
                health = f"http://127.0.0.1:{self._worker_port}/health"
                self.running[name] = local_servers.Server(
                    name,
                    [str(part) for part in command],
                    health=health,
                    log=logs / "worker.log",
                    environment=self.environment | port,
                )
            case _:
                health = f"http://127.0.0.1:{self.at.relay_port}/health"
                self.running[name] = local_servers.Server(
                    name,
                    [str(BIN / "plankseg"), "webhook-relay"],
                    health=health,
                    log=logs / "relay.log",
                    environment=self.environment,
                )

    def stop(self, name: str) -> int:
        """Stop a server, and say which process it was."""
        server = self.running.pop(name)
        server.stop()
        return server.process.pid

    def restart(self, name: str) -> None:
        """Stop a server and start it again at the same address; another process, which may not answer yet."""
        old = self.stop(name)
        self.start(name)
        assert self.running[name].process.pid != old

    def kill(self, name: str) -> None:
        """End a server and all that it started, at once and without a word, as a power cut does."""
        server = self.running.pop(name)
        family = [psutil.Process(server.process.pid)]
        family += family[0].children(recursive=True)
        for process in family:
            process.kill()
        psutil.wait_procs(family, timeout=10)
        server.stop()

    def set_label_studio_clock(self, offset_s: float) -> None:
        """Let Label Studio's clock jump to so many seconds from the right time, while it runs."""
        (self.at.directory / CLOCK).write_text(str(offset_s))

    def deploy(self) -> None:
        """Bring the flows onto the Prefect server; its clock stands still until a test lets it run."""
        command = ["bash", str(local_servers.ROOT / "deployments" / "deploy.sh")]
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=False, cwd=local_servers.ROOT
        )
        assert done.returncode == 0, done.stdout + done.stderr
        tick_every(self.at, None)

    # --- runs --------------------------------------------------------------------------------------------------------

    def deployment(self, flow: str, name: str | None = None) -> dict[str, Any]:
        """The deployment of that name, by default the flow's own, as Prefect knows it."""
        return get(self.at, f"deployments/name/{flow}/{name or flow}")

    def press_run(self, name: str = "advance", *, hold: tuple[str, Path] | None = None) -> str:
        """Start `advance` as the UI or the clock does; with `hold` it stops at a point until a file is in a folder."""
        body: dict[str, Any] = {}
        if hold:
            command = f"{sys.executable} {Path(__file__).with_name('held_run.py')} '{hold[0]}'"
            body["job_variables"] = {"command": command, "env": {"PAUSE_IN": str(hold[1])}}
        made = post(self.at, f"deployments/{self.deployment('advance', name)['id']}/create_flow_run", body).json()
        return str(made["id"])

    def run(self, run_id: str) -> dict[str, Any]:
        """A run as Prefect knows it now."""
        return get(self.at, f"flow_runs/{run_id}")

    def wait_for(self, run_id: str) -> dict[str, Any]:
        """A run after its end."""
        until(lambda: self.run(run_id)["state_type"] in ENDED, what=lambda: self.output_of(run_id), timeout_s=150)
        return self.run(run_id)

    def output_of(self, run_id: str) -> str:
        """The log of a run and its state, for the failure of a test."""
        return json.dumps(self.run(run_id)["state"], indent=1) + self.log_of(run_id)

    def log_of(self, run_id: str) -> str:
        """What a run and the runs that it called wrote."""
        return log_of(self.at, run_id)

    def runs_of(self, flow: str, state: str | None = None) -> list[dict[str, Any]]:
        """Every run of a flow, of one state."""
        found = post(self.at, "flow_runs/filter", {"flows": {"name": {"any_": [flow]}}}).json()
        return [run for run in found if state in (None, run["state_type"])]

    def advance(self) -> State[Any]:
        """Run `advance` here, where torch is loaded already: what the clock would do."""
        from flows.advance import advance

        settings.cache_clear()
        return advance(return_state=True)

    # --- one round ---------------------------------------------------------------------------------------------------

    @property
    def store(self) -> Store:
        """The store of the round that is being played."""
        return Store.open(self.at.store)

    @contextmanager
    def label_studio(self) -> Iterator[LabelStudioClient]:
        """Our own look at Label Studio."""
        with LabelStudioClient(self.at.label_studio_url, self.environment["PLANKSEG_LABEL_STUDIO_TOKEN"]) as client:
            yield client

    def begin(self, snapshot: Path | None = None) -> None:
        """Set the store to the snapshot, and put the last round's project aside."""
        with self.label_studio() as client:
            project = client.find_project(TITLE)
            if project is not None:
                client._write("PATCH", f"api/projects/{project}/", {"title": f"before {next(self._retired)}"})
        shutil.rmtree(self.at.store, ignore_errors=True)
        shutil.copytree(snapshot or self.snapshot, self.at.store)

    def push(self) -> int:
        """Bring round 1 into Label Studio; the project's number."""
        with self.label_studio() as client:
            project = self.project(client)
            push(self.store, client, project, round_number=1, options=PushOptions(title=TITLE))
            return project

    def person(self) -> SimulatedAnnotator:
        """Who answers; always the same way."""
        store = self.store
        return SimulatedAnnotator(lambda image_id: self.world.truth(store, image_id), seed=1)

    def answer(self) -> None:
        """Let the person answer round 1."""
        with self.label_studio() as client:
            self.person().answer_round(client, self.project(client), 1)

    def project(self, client: LabelStudioClient) -> int:
        """The project of the round that is being played."""
        return project_of(client, Settings(project=TITLE))

    def outcome(self) -> dict[str, object]:
        """The table of rounds, all labels and models, and the images that Label Studio has tasks for, doubles twice."""
        store = self.store
        with self.label_studio() as client:
            tasks = client.list_tasks(self.project(client))
        ours = sorted((task["data"]["round"], task["data"]["image_id"]) for task in tasks if "round" in task["data"])
        rounds = [row.model_dump() for row in read_status(store, TINY_ROUNDS.rounds).rounds]
        return {**what_is_in(store), "table": rounds, "tasks": ours}


@contextmanager
def stage_in(folder: Path, world: World) -> Iterator[Stage]:
    """The servers, ready, and a round that was proposed."""
    from plankseg.pipeline.acquisition.propose import propose

    stage, threads = Stage(folder, world), torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch, temporary_settings(stage.prefect_settings()):
        for name in [name for name in os.environ if name.startswith("PLANKSEG_")]:
            patch.delenv(name)
        for name, value in stage.environment.items():
            if name.startswith("PLANKSEG_"):
                patch.setenv(name, value)
        patch.setenv("LABEL_STUDIO_BIN", str(stage.label_studio_program))
        try:
            stage.start("Prefect")
            stage.start("Label Studio")
            propose(
                world.copy(stage.snapshot),
                TINY_ROUNDS,
                Settings(store=str(stage.snapshot), device="cpu"),
                round_number=1,
            )
            for server in stage.running.values():
                server.wait()
            stage.deploy()
            stage.start("worker")
            yield stage
        finally:
            torch.set_num_threads(threads)
            settings.cache_clear()
            # else they wait for this server for ever, and whoever asks for them next with them
            EventsWorker.drain_all(timeout=30)
            for name in list(stage.running):
                stage.stop(name)


def once_before(patch: pytest.MonkeyPatch, owner: object, name: str, fault: Callable[[], object]) -> list[str]:
    """Let a fault happen right before the next call of a method; the list says that it did."""
    original, happened = getattr(owner, name), list[str]()

    def with_fault(*args: Any, **kwargs: Any) -> Any:
        if not happened:
            happened.append(name)
            fault()
        return original(*args, **kwargs)

    patch.setattr(owner, name, with_fault)
    return happened
