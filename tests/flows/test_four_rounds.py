"""Four rounds driven by nothing but what `advance` does, again and again, as on a schedule; a simulated person answers.

Label Studio is the fake and the tasks are called without Prefect; the same steps on real servers, with kills, are in
test_killed_proposing and test_killed_learning.
"""

import json

import numpy as np
import pytest

import flows.advance
from plankseg.config import Recipe, Settings
from plankseg.labelling.testing.fake import FakeLabelStudio
from plankseg.labelling.testing.simulated_annotator import SimulatedAnnotator
from plankseg.pipeline.acquisition.propose import propose
from plankseg.pipeline.acquisition.replace import replace_skipped
from plankseg.pipeline.annotation.collect_answers import collect
from plankseg.pipeline.annotation.connection import project_for
from plankseg.pipeline.annotation.push_proposals import push
from plankseg.pipeline.reports.status import Status, read_status
from plankseg.pipeline.training.round_training import fit
from plankseg.storage.store import Store
from tests.support.small_world import make_world
from tests.support.tiny_recipe import TINY, TINY_ROUNDS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
RECIPE = Recipe(
    network=TINY.network,
    training=TINY_ROUNDS.training.model_copy(update={"batch_size": 16, "draws_per_epoch": 240, "epochs": 1}),
    query=TINY_ROUNDS.query.model_copy(update={"batch_size": 6, "blind": 1, "random_controls": 1}),
    rounds=TINY_ROUNDS.rounds.model_copy(update={"budget": 4, "stop_when_flat": False, "replace_skipped": True}),
)


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, FakeLabelStudio, Status]:
    """A store after four rounds, and the Label Studio they were answered in."""
    world = make_world(tmp_path_factory.mktemp("four"), RECIPE)
    store, server, cpu = Store.open(world.store), FakeLabelStudio(), Settings(device="cpu")
    project = project_for(store, server, cpu)
    person = SimulatedAnnotator(lambda image_id: world.truth(store, image_id), seed=1)

    def propose_and_push(recipe: Recipe, n: int) -> None:
        propose(store, recipe, cpu, round_number=n)
        push(store, server, project, round_number=n)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flows.advance, "collect", lambda: collect(store, server, project).rounds)
        patch.setattr(flows.advance, "propose", propose_and_push)
        patch.setattr(flows.advance, "push", lambda n, _: push(store, server, project, round_number=n))
        patch.setattr(flows.advance, "replace", lambda n: replace_skipped(store, cpu, round_number=n))
        patch.setattr(flows.advance, "retrain", lambda recipe, n: fit(store, recipe, cpu, round_number=n))
        for _ in range(20):
            summary = flows.advance.do_what_is_due(store, None, None)
            if summary.startswith("All rounds are done"):
                break
            person.answer_round(server, project, max(store.proposals.rounds()))
    assert summary.startswith("All rounds are done (4). Run 'segment'")
    return store, server, read_status(store, RECIPE.rounds)


def test_the_recorded_models_grew_as_published(four: tuple[Store, FakeLabelStudio, Status]) -> None:
    _, _, status = four
    base = RECIPE.training
    assert [(model.round, model.epochs - base.epochs, model.side_px - base.side_px) for model in status.models] == [
        (0, 0, 0),
        (1, 0, 0),
        (2, 0, 0),
        (3, 2, 16),
        (4, 4, 32),
    ]
    for row in four[0].models.all():
        assert Recipe.model_validate_json(row.recipe) == RECIPE


def test_corrections_were_drawn_as_often_as_their_weight_says(four: tuple[Store, FakeLabelStudio, Status]) -> None:
    differences = []
    for row in four[0].models.all()[1:]:
        metrics = json.loads(row.metrics)
        corrections, source = metrics["corrections"], metrics["examples"] - metrics["corrections"]
        expected = 10 * corrections / (10 * corrections + source)
        differences += [share - expected for share in metrics["share_of_corrections"]]
        assert len(metrics["share_of_corrections"]) == row.epochs
    assert abs(float(np.mean(differences))) < 0.02


def test_the_effort_table_has_four_rows_with_controls_apart_and_no_task_is_doubled(
    four: tuple[Store, FakeLabelStudio, Status],
) -> None:
    store, server, status = four
    assert [round_effort.round for round_effort in status.effort] == [1, 2, 3, 4]
    assert all(
        round_effort.shown.dice is not None and round_effort.shown.seconds_median for round_effort in status.effort
    )
    for n in range(1, 5):
        asked = store.proposals.asked(n)
        tasks = sorted(task["data"]["image_id"] for task in server.list_tasks(1, n))
        assert tasks == sorted(row.image_id for row in asked)
        assert (sum(bool(row.blind) for row in asked), sum(row.control for row in asked)) == (1, 1)
        first = [row for row in asked if row.replaces is None]
        skipped = {row.image_id for row in store.labels.answered(n) if row.status == "skipped"}
        assert len(first) == 6
        assert {row.replaces for row in asked if row.replaces} == skipped


def test_blind_images_show_no_premask_and_are_still_compared_with_it(
    four: tuple[Store, FakeLabelStudio, Status],
) -> None:
    store, server, _ = four
    blind = {row.image_id for n in range(1, 5) for row in store.proposals.asked(n) if row.blind}
    tasks = server.list_tasks(1)
    assert {t["data"]["image_id"] for t in tasks if not t["predictions"]} == blind
    rows = [row for row in store.labels.current() if row.image_id in blind and row.status == "usable"]
    assert rows
    assert all(row.origin == "drawn" and row.dice_to_premask is not None for row in rows)
