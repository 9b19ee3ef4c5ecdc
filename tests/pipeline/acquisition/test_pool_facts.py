"""The later selectors on a store: what they are told of images, what is recorded, and that the choice replays."""

from pathlib import Path

import pytest

from plankseg.acquisition.manifest import Manifest, replay
from plankseg.config import QueryConfig, Recipe, SelectorName, Settings
from plankseg.pipeline.acquisition.propose import propose
from plankseg.storage.store import Store
from tests.support.little_store import add_answers, add_model, store_with
from tests.support.tiny_recipe import TINY

pytestmark = pytest.mark.slow

CPU = Settings(device="cpu")
LATER: tuple[SelectorName, ...] = ("stratified", "power", "stratified_power", "typical_first", "core_set")


@pytest.fixture
def store(tmp_path: Path, weights: bytes) -> Store:
    """Sixteen images without a taxon, and a model that knows nothing."""
    store = store_with(tmp_path, pool=16, validation=2)
    add_model(store, 0, weights=weights)
    return store


def recipe(selector: SelectorName, **query: object) -> Recipe:
    changes = {"selector": selector, "batch_size": 4, "batches": 3, "clusters": 3, **query}
    return TINY.model_copy(update={"query": QueryConfig(**(TINY.query.model_dump() | changes))})


def manifest_of(store: Store, round_number: int) -> Manifest:
    return Manifest.from_json(store.blobs.get(store.proposals.chosen(round_number)[0].manifest_sha, "json"))


@pytest.mark.parametrize("selector", LATER)
def test_two_rounds_choose_different_images_and_their_manifests_replay(store: Store, selector: SelectorName) -> None:
    chosen: set[str] = set()
    for round_number in (1, 2):
        propose(store, recipe(selector), CPU, round_number=round_number)
        found = {row.image_id for row in store.proposals.chosen(round_number)}
        assert len(found - chosen) == 4
        chosen |= found
        add_answers(store, round_number, sorted(found))
        manifest = manifest_of(store, round_number)
        assert set(replay(manifest)) == found
        assert manifest.facts is not None
        assert len(manifest.facts.strata) == 12  # as many candidates as three batches hold


def test_without_taxa_the_strata_are_clusters_of_what_the_encoder_sees(store: Store) -> None:
    propose(store, recipe("stratified"), CPU, round_number=1)
    facts = manifest_of(store, 1).facts
    assert facts is not None
    assert set(facts.strata.values()) <= {"cluster 0", "cluster 1", "cluster 2"}
    assert len(set(facts.strata.values())) > 1
    assert facts.features == {}


def test_a_core_set_knows_what_was_answered(store: Store) -> None:
    for round_number in (1, 2):
        propose(store, recipe("core_set"), CPU, round_number=round_number)
        facts = manifest_of(store, round_number).facts
        assert facts is not None
        assert len(facts.answered) == 4 * (round_number - 1)
        add_answers(store, round_number, [row.image_id for row in store.proposals.chosen(round_number)])


def test_an_image_that_is_gone_is_left_out_of_the_candidates(store: Store) -> None:
    lost = store.catalogue.path(sorted(store.catalogue.ids("pool"))[0])
    lost.unlink()
    proposal = propose(store, recipe("core_set", batches=99), CPU, round_number=1)
    assert len(proposal.unreadable) == 1
    assert proposal.pool_size == 15


def test_an_answered_image_that_is_gone_stops_no_proposal(store: Store) -> None:
    propose(store, recipe("core_set"), CPU, round_number=1)
    chosen = [row.image_id for row in store.proposals.chosen(1)]
    add_answers(store, 1, chosen)
    store.catalogue.path(chosen[0]).unlink()
    assert len(propose(store, recipe("core_set"), CPU, round_number=2).images) == 4
