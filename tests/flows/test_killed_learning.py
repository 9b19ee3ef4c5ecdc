"""Killed anywhere while it collects and trains, `advance` run again ends with the same store. Real servers."""

import shutil
import signal
from pathlib import Path

import pytest

from plankseg import local_servers
from plankseg.labelling.api.client import LabelStudioClient
from plankseg.pipeline.annotation.push_proposals import push
from plankseg.pipeline.loop.progress import read_progress
from plankseg.storage.store import Store
from tests.support.advance_harness import Bench, bench_for, what_is_in
from tests.support.live_servers import LivePrefect
from tests.support.small_world import World

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(900)]
POINTS = [
    "in the middle of the collect",
    "after the collect",
    "in the middle of the training",
    "before the model's commit",
    "after the model's commit",
]


@pytest.fixture(scope="module")
def undisturbed(
    world: World,
    server_settings: local_servers.ServerSettings,
    client: LabelStudioClient,
    prefect_server: LivePrefect,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Bench, Path]:
    """A round without a kill, and a copy of its store from before the answers were collected."""
    folder = tmp_path_factory.mktemp("undisturbed")
    bench = bench_for(world.copy(folder / "store"), "undisturbed", server_settings, client)
    first = bench.advance()
    assert first.returncode == 0, first.stdout + first.stderr
    bench.answer(world, 1)
    waiting = folder / "waiting"
    shutil.copytree(bench.store.root, waiting)
    second = bench.advance()
    assert second.returncode == 0, second.stdout + second.stderr
    return bench, waiting


def test_an_undisturbed_round_ends_with_twenty_answers_a_model_and_the_next_twenty(
    undisturbed: tuple[Bench, Path],
) -> None:
    bench, _ = undisturbed
    progress = read_progress(bench.store)
    assert (progress.round, len(progress.chosen), progress.unanswered) == (2, 20, 20)
    assert len(bench.store.labels.answered(1)) == 20
    assert [row.round for row in bench.store.models.all()] == [0, 1]
    assert bench.tasks(2) == sorted(progress.chosen)


@pytest.mark.parametrize("point", POINTS)
def test_a_kill_while_learning_ends_with_the_same_answers_and_the_same_model(
    point: str,
    undisturbed: tuple[Bench, Path],
    world: World,
    server_settings: local_servers.ServerSettings,
    client: LabelStudioClient,
    tmp_path: Path,
) -> None:
    calm, waiting = undisturbed
    shutil.copytree(waiting, tmp_path / "store")
    bench = bench_for(Store.open(tmp_path / "store"), f"killed {point}"[:50], server_settings, client)
    push(bench.store, client, bench.project_id(), round_number=1)
    bench.answer(world, 1)
    killed = bench.advance(point)
    assert killed.returncode == -signal.SIGKILL, killed.stdout + killed.stderr
    again = bench.advance()
    assert again.returncode == 0, again.stdout + again.stderr
    if point == "in the middle of the training":
        output = again.stdout + again.stderr
        assert "epoch 2:" in output
        assert "epoch 1:" not in output, "the training went on, it did not begin anew"
    assert what_is_in(bench.store) == what_is_in(calm.store)
    assert bench.tasks(1) == sorted(row.image_id for row in bench.store.proposals.chosen(1))
    assert bench.tasks(2) == sorted(row.image_id for row in bench.store.proposals.chosen(2))
    assert len(bench.tasks(2)) == 20


def test_an_answer_edited_after_its_round_was_trained_on_arrives_with_the_next_advance(
    undisturbed: tuple[Bench, Path],
) -> None:
    bench, _ = undisturbed
    task = bench.client.list_tasks(bench.project_id(), 1)[0]
    image_id = task["data"]["image_id"]
    before = len(bench.store.labels.history(image_id))
    bench.client.update_annotation(task["annotations"][0]["id"], [], lead_time=3.0)
    done = bench.advance()
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(bench.store.labels.history(image_id)) == before + 1
    newest = {row.image_id: row for row in bench.store.labels.answered(1)}[image_id]
    assert (newest.origin, newest.status) == ("empty", "usable")
