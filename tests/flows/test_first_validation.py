"""Where there is no validation set, the loop asks a person for one at its start, and takes the masks. Real servers."""

from pathlib import Path

import pytest

from plankseg import local_servers
from plankseg.config import Settings, ValidationConfig
from plankseg.labelling.api.client import LabelStudioClient
from plankseg.labelling.testing.simulated_annotator import SimulatedAnnotator
from plankseg.pipeline.annotation.connection import project_of_validation
from plankseg.pipeline.ingest.register_images import ingest_folder
from plankseg.pipeline.pool.validation_split import halves
from plankseg.pipeline.training.round_training import fit
from plankseg.storage.store import Store
from tests.support.advance_harness import bench_for
from tests.support.live_servers import LivePrefect
from tests.support.small_world import World
from tests.support.tiny_recipe import TINY

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(900)]


def test_the_first_proposal_comes_with_images_to_judge_by_and_their_masks_are_taken(
    world: World,
    server_settings: local_servers.ServerSettings,
    client: LabelStudioClient,
    prefect_server: LivePrefect,
    tmp_path: Path,
) -> None:
    store = Store.open(tmp_path / "store")
    ingest_folder(store, world.folders.source, role="source")
    ingest_folder(store, world.folders.pool, role="pool")
    recipe = TINY.model_copy(update={"validation": ValidationConfig(ask_for=5)})
    fit(store, recipe, Settings(store=str(store.root), device="cpu"), round_number=0)
    bench = bench_for(store, "judge first", server_settings, client)

    first = bench.advance()
    assert first.returncode == 0, first.stdout + first.stderr
    drawn = store.catalogue.ids("validation")
    assert len(drawn) == 5
    assert not set(drawn) & {row.image_id for row in store.proposals.of_round(1)}
    project = project_of_validation(client, Settings(project=bench.project))
    assert sorted(task["data"]["image_id"] for task in client.list_tasks(project)) == drawn
    assert "5 validation images wait for a person" in first.stdout + first.stderr

    person = SimulatedAnnotator(lambda image_id: world.truth(store, image_id), seed=1, skip_rate=0.0)
    person.answer_round(client, project, 0)
    second = bench.advance()
    assert second.returncode == 0, second.stdout + second.stderr
    masked = halves(store)
    assert sorted([*masked.selection, *masked.test]) == drawn
    assert store.catalogue.ids("validation") == drawn, "it asks once"
    assert "wait for a person in the Label Studio project of the validation set" not in second.stdout + second.stderr
