"""Where a test's `advance` runs: in a process of its own, on a store and a project of its own, on real servers."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from plankseg import local_servers
from plankseg.config import Settings
from plankseg.labelling.api.client import LabelStudioClient
from plankseg.labelling.testing.simulated_annotator import SimulatedAnnotator
from plankseg.pipeline.annotation.connection import project_of
from plankseg.storage.store import Store
from tests.support.small_world import World
from tests.support.subprocess_flow import SUPPORT, end_of, run_flow, start_flow

DRIVER = SUPPORT / "killed_advance.py"


@dataclass(frozen=True)
class Bench:
    """Where a test's `advance` runs: a store and a Label Studio project of its own, on the shared servers."""

    store: Store
    project: str
    environment: dict[str, str]
    client: LabelStudioClient

    def advance(self, point: str = "nowhere") -> subprocess.CompletedProcess[str]:
        """Run `advance` in a process of its own, killed at the point."""
        return run_flow(DRIVER, point, environment=self.environment)

    @contextmanager
    def advance_held(self, point: str, folder: Path) -> Iterator[None]:
        """Run `advance` in a process of its own, held at the point for the block, then let go; wait for its end."""
        log = folder / "log"
        process = start_flow(DRIVER, point, environment=self.environment | {"PAUSE_IN": str(folder)}, log=log)
        try:
            while not (folder / "here").exists():
                assert process.poll() is None, log.read_text()
                time.sleep(0.1)
            yield
        finally:
            (folder / "go").touch()
            end_of(process, log)

    def project_id(self) -> int:
        """The project's number."""
        return project_of(self.client, Settings(project=self.project))

    def answer(self, world: World, round_number: int) -> None:
        """Let the simulated person answer a round."""
        person = SimulatedAnnotator(lambda image_id: world.truth(self.store, image_id), seed=1)
        person.answer_round(self.client, self.project_id(), round_number)

    def tasks(self, round_number: int) -> list[str]:
        """The images that Label Studio has tasks for, sorted; a doubled task shows twice."""
        return sorted(task["data"]["image_id"] for task in self.client.list_tasks(self.project_id(), round_number))


def bench_for(
    store: Store, project: str, server_settings: local_servers.ServerSettings, client: LabelStudioClient
) -> Bench:
    """Settings by environment, as a worker gets them."""
    environment = server_settings.environment() | {
        "PLANKSEG_STORE": str(store.root),
        "PLANKSEG_PROJECT": project,
        "PLANKSEG_DEVICE": "cpu",
    }
    return Bench(store, project, environment, client)


def what_is_in(store: Store) -> dict[str, object]:
    """Everything of a store that must not depend on kills: choices, answers by pixels, models by weights."""
    proposals = {
        n: sorted((row.batch, row.image_id, row.uncertainty, row.chosen) for row in store.proposals.of_round(n))
        for n in store.proposals.rounds()
    }
    answers = sorted(
        (row.image_id, row.round, row.origin, row.status, row.pixel_sha or "", row.changed_px or 0)
        for row in store.labels.current()
        if row.by_person
    )
    versions = {
        row.image_id: len(store.labels.history(row.image_id)) for row in store.labels.current() if row.by_person
    }
    models = [(row.round, row.model_id, row.promoted, row.reason) for row in store.models.all()]
    return {"proposals": proposals, "answers": answers, "versions": versions, "models": models}
