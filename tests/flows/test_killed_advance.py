"""Killed at any point of `advance`, the next run finishes the round as if nothing had happened. Real servers."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from live import LiveLabelStudio
from small_world import World

from plankseg import serving
from plankseg.config import Settings
from plankseg.labelling.annotator import SimulatedAnnotator
from plankseg.labelling.client import LabelStudioClient
from plankseg.rounds.answering import project_of
from plankseg.rounds.progress import look
from plankseg.storage.store import Store

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(900)]
DRIVER = Path(__file__).with_name("killed_advance.py")
WHILE_PROPOSING = [
    "before the proposal's commit",
    "after the proposal's commit",
    "in the middle of the push, images uploaded",
    "in the middle of the push, tasks imported",
    "after the push",
]
WHILE_LEARNING = [
    "in the middle of the collect",
    "after the collect",
    "in the middle of the training",
    "before the model's commit",
    "after the model's commit",
]


@dataclass(frozen=True)
class Bench:
    """Where a test's `advance` runs: a store and a Label Studio project of its own, on the shared servers."""

    store: Store
    project: str
    environment: dict[str, str]
    client: LabelStudioClient

    def advance(self, point: str = "nowhere") -> subprocess.CompletedProcess[str]:
        """Run `advance` in a process of its own, killed at the point."""
        return subprocess.run(
            [sys.executable, str(DRIVER), point],
            env=self.environment,
            cwd=serving.ROOT,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def project_id(self) -> int:
        """The project's number."""
        return project_of(self.client, Settings(project=self.project))

    def tasks(self, round_number: int) -> list[str]:
        """The images that Label Studio has tasks for, sorted; a doubled task shows twice."""
        return sorted(task["data"]["image_id"] for task in self.client.list_tasks(self.project_id(), round_number))


@pytest.fixture(scope="module")
def client(label_studio: LiveLabelStudio) -> Iterator[LabelStudioClient]:
    """Our own look at Label Studio."""
    with LabelStudioClient(label_studio.url, label_studio.token) as client:
        yield client


def bench_for(store: Store, project: str, surroundings: serving.Surroundings, client: LabelStudioClient) -> Bench:
    """Settings by environment, as a worker gets them."""
    environment = surroundings.environment() | {
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
        if row.by_hand
    )
    versions = {row.image_id: len(store.labels.history(row.image_id)) for row in store.labels.current() if row.by_hand}
    models = [(row.round, row.model_id, row.promoted, row.reason) for row in store.models.all()]
    return {"proposals": proposals, "answers": answers, "versions": versions, "models": models}


@pytest.fixture(scope="module")
def undisturbed(
    world: World,
    surroundings: serving.Surroundings,
    client: LabelStudioClient,
    prefect_server: serving.Server,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Bench, Path]:
    """A round without a kill, and a copy of its store from before the answers were collected."""
    folder = tmp_path_factory.mktemp("undisturbed")
    bench = bench_for(world.copy(folder / "store"), "undisturbed", surroundings, client)
    first = bench.advance()
    assert first.returncode == 0, first.stdout + first.stderr
    SimulatedAnnotator(lambda image_id: world.truth(bench.store, image_id), seed=1).answer_round(
        bench.client, bench.project_id(), 1
    )
    waiting = folder / "waiting"
    shutil.copytree(bench.store.root, waiting)
    second = bench.advance()
    assert second.returncode == 0, second.stdout + second.stderr
    return bench, waiting


def test_an_undisturbed_round_ends_with_twenty_answers_a_model_and_the_next_twenty(
    undisturbed: tuple[Bench, Path],
) -> None:
    bench, _ = undisturbed
    progress = look(bench.store)
    assert (progress.round, len(progress.chosen), progress.unanswered) == (2, 20, 20)
    assert len(bench.store.labels.answered(1)) == 20
    assert [row.round for row in bench.store.models.all()] == [0, 1]
    assert bench.tasks(2) == sorted(progress.chosen)


@pytest.mark.parametrize("point", WHILE_PROPOSING)
def test_a_kill_while_proposing_leaves_twenty_tasks_and_no_double(
    point: str,
    undisturbed: tuple[Bench, Path],
    world: World,
    surroundings: serving.Surroundings,
    client: LabelStudioClient,
    tmp_path: Path,
) -> None:
    expected = what_is_in(undisturbed[0].store)["proposals"][1]  # type: ignore[index]
    bench = bench_for(world.copy(tmp_path / "store"), f"killed {point}"[:50], surroundings, client)
    killed = bench.advance(point)
    assert killed.returncode == -signal.SIGKILL, killed.stdout + killed.stderr
    again = bench.advance()
    assert again.returncode == 0, again.stdout + again.stderr
    assert what_is_in(bench.store)["proposals"] == {1: expected}
    assert bench.tasks(1) == sorted(row.image_id for row in bench.store.proposals.chosen(1))


@pytest.mark.parametrize("point", WHILE_LEARNING)
def test_a_kill_while_learning_ends_with_the_same_answers_and_the_same_model(
    point: str,
    undisturbed: tuple[Bench, Path],
    surroundings: serving.Surroundings,
    client: LabelStudioClient,
    tmp_path: Path,
) -> None:
    bench, waiting = undisturbed
    shutil.copytree(waiting, tmp_path / "store")
    same = bench_for(Store.open(tmp_path / "store"), bench.project, surroundings, client)
    killed = same.advance(point)
    assert killed.returncode == -signal.SIGKILL, killed.stdout + killed.stderr
    again = same.advance()
    assert again.returncode == 0, again.stdout + again.stderr
    assert what_is_in(same.store) == what_is_in(bench.store)
    assert bench.tasks(1) == sorted(row.image_id for row in bench.store.proposals.chosen(1))
    assert bench.tasks(2) == sorted(row.image_id for row in bench.store.proposals.chosen(2))


def test_of_two_advances_at_once_one_works_and_the_other_says_so(
    world: World, surroundings: serving.Surroundings, client: LabelStudioClient, prefect_server: serving.Server,
    tmp_path: Path,
) -> None:  # fmt: skip
    bench = bench_for(world.copy(tmp_path / "store"), "two at once", surroundings, client)
    with bench.store.lock("advance"):
        second = bench.advance()
    assert second.returncode == 0, second.stderr
    assert "Skipped Another run is at work" in second.stdout
    assert f"process {os.getpid()}" in second.stdout
    assert bench.store.proposals.rounds() == []


def test_label_studio_down_is_retried_then_said_clearly_and_the_next_run_goes_on(
    world: World, surroundings: serving.Surroundings, client: LabelStudioClient, prefect_server: serving.Server,
    tmp_path: Path,
) -> None:  # fmt: skip
    bench = bench_for(world.copy(tmp_path / "store"), "down and up", surroundings, client)
    nobody = f"http://127.0.0.1:{serving.free_port()}"
    bench.environment["PLANKSEG_LABEL_STUDIO_URL"] = nobody
    failed = bench.advance()
    assert failed.returncode == 1
    said = failed.stdout + failed.stderr
    assert "LabelStudioDownError" in said
    assert nobody in said
    assert "Retry" in said or "retry" in said
    bench.environment["PLANKSEG_LABEL_STUDIO_URL"] = surroundings.label_studio_url
    again = bench.advance()
    assert again.returncode == 0, again.stdout + again.stderr
    assert bench.tasks(1) == sorted(row.image_id for row in bench.store.proposals.chosen(1))
    assert len(bench.tasks(1)) == 20
