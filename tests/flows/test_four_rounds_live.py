"""Four rounds that nobody drives: the clock of `make up` and its relay do, while a simulated person answers.

Real Label Studio, real Prefect with its worker. The same loop on a fake, with blind images and replacements, is in
test_four_rounds.
"""

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from plankseg import local_servers
from plankseg.config import Recipe
from plankseg.labelling.api.client import LabelStudioClient
from plankseg.labelling.testing.simulated_annotator import SimulatedAnnotator
from plankseg.pipeline.reports.status import Status, read_status
from plankseg.storage.store import Store
from tests.support.prefect_api import runs, serve_up, tick_every, until
from tests.support.small_world import make_world
from tests.support.subprocess_flow import forked_runs
from tests.support.tiny_recipe import TINY, TINY_ROUNDS

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(1800)]
RECIPE = Recipe(
    network=TINY.network,
    training=TINY_ROUNDS.training.model_copy(update={"batch_size": 16, "draws_per_epoch": 640, "epochs": 1}),
    query=TINY_ROUNDS.query.model_copy(update={"batch_size": 6}),
    rounds=TINY_ROUNDS.rounds.model_copy(update={"budget": 4, "stop_when_flat": False}),
)
Four = tuple[Store, Status, list[dict[str, object]], list[str]]


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Four:
    """The store after four rounds, its status, the runs of `advance`, and the image of each task in Label Studio."""
    folder = tmp_path_factory.mktemp("four")
    world = make_world(folder / "world", RECIPE)
    shutil.copytree(world.store, folder / "work" / "store")
    with serve_up(folder) as (at, _), forked_runs(at):
        tick_every(at, 60)  # more than the half minute that an event's run takes to begin on a busy machine
        store = Store.open(at.store)
        person = SimulatedAnnotator(lambda image_id: world.truth(store, image_id), seed=1)
        with LabelStudioClient(at.label_studio_url, local_servers.ensure_credentials(at.directory).token) as client:

            def answer_what_is_there() -> bool:
                project = client.find_project("plankseg")
                if project is not None:
                    for n in store.proposals.rounds()[-1:]:
                        person.answer_round(client, project, n)
                return read_status(store, RECIPE.rounds).next.startswith("All rounds are done (4).")

            until(answer_what_is_there, what=lambda: state_of(at, store, folder), timeout_s=1200)
            project = client.find_project("plankseg")
            assert project is not None
            tasks = [task["data"]["image_id"] for task in client.list_tasks(project)]
        return store, read_status(store, RECIPE.rounds), runs(at, "advance"), tasks


def state_of(at: local_servers.ServerSettings, store: Store, folder: Path) -> str:
    """What is to be seen if four rounds do not come to their end."""
    states = [(run["name"], run["state_name"]) for run in runs(at, "advance")]
    return f"{read_status(store, RECIPE.rounds).next}\n{states}\n{(folder / 'log').read_text()[-3000:]}"


def test_nobody_drove_it_but_the_clock_and_the_relay(four: Four) -> None:
    _, _, advanced, _ = four
    by = Counter(run["created_by"]["type"] for run in advanced)  # type: ignore[index]
    assert set(by) == {"SCHEDULE", "AUTOMATION"}
    assert 1 <= by["AUTOMATION"] <= 4, "one event for a round that is answered"


def test_the_recorded_models_grew_as_published(four: Four) -> None:
    store, status, _, _ = four
    base = RECIPE.training
    assert [(model.round, model.epochs - base.epochs, model.side_px - base.side_px) for model in status.models] == [
        (0, 0, 0),
        (1, 0, 0),
        (2, 0, 0),
        (3, 2, 16),
        (4, 4, 32),
    ]
    assert [Recipe.model_validate_json(row.recipe) for row in store.models.all()] == [RECIPE] * 5


def test_corrections_were_drawn_as_often_as_their_weight_says(four: Four) -> None:
    differences = []
    for row in four[0].models.all()[1:]:
        metrics = json.loads(row.metrics)
        corrections, source = metrics["corrections"], metrics["examples"] - metrics["corrections"]
        expected = 10 * corrections / (10 * corrections + source)
        differences += [share - expected for share in metrics["share_of_corrections"]]
        assert len(metrics["share_of_corrections"]) == row.epochs
    assert abs(float(np.mean(differences))) < 0.02


def test_the_effort_table_has_four_rows_and_no_task_is_doubled(four: Four) -> None:
    store, status, _, tasks = four
    assert [round_effort.round for round_effort in status.effort] == [1, 2, 3, 4]
    assert all(
        round_effort.shown.dice is not None and round_effort.shown.seconds_median for round_effort in status.effort
    )
    assert [(row.round, row.proposed, row.answered) for row in status.rounds] == [(n, 6, 6) for n in (1, 2, 3, 4)]
    assert sorted(tasks) == sorted(row.image_id for n in (1, 2, 3, 4) for row in store.proposals.asked(n))
