"""The images a person gets next: drawn, scored, chosen and committed once."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from plankseg.acquisition.manifest import Manifest, replay
from plankseg.config import QueryConfig, Settings
from plankseg.errors import EmptyPoolError, TrainingError
from plankseg.imaging.masks import decode_mask, largest_component
from plankseg.imaging.postprocessing import Postprocessing
from plankseg.pipeline.acquisition.propose import Proposal, ScoringOptions, propose
from plankseg.pipeline.pool.candidates import choosable
from plankseg.storage.store import Store
from tests.support.little_store import add_answers, add_images, add_model, store_with
from tests.support.tiny_recipe import TINY

pytestmark = pytest.mark.slow

CPU = Settings(device="cpu")


def proposed(store: Store, round_number: int = 1, **query: object) -> Proposal:
    recipe = TINY.model_copy(update={"query": QueryConfig(**(TINY.query.model_dump() | query))})
    return propose(store, recipe, CPU, round_number=round_number)


@pytest.fixture
def store(tmp_path: Path, weights: bytes) -> Store:
    """Twelve images to choose from, two for validation, and a model that knows nothing."""
    store = store_with(tmp_path, pool=12, validation=2)
    add_model(store, 0, weights=weights)
    return store


def test_what_is_committed_is_what_was_shown(store: Store) -> None:
    told: list[tuple[int, int]] = []
    scoring = ScoringOptions(on_progress=lambda done, total: told.append((done, total)))
    proposal = propose(store, TINY, CPU, round_number=1, scoring=scoring)
    rows = store.proposals.chosen(1)
    assert [row.image_id for row in rows] == [prediction.image_id for prediction in proposal.images]
    assert len(rows) == 5
    falling = [prediction.uncertainty for prediction in proposal.images]
    assert falling == sorted(falling, reverse=True)
    assert [row.uncertainty for row in rows] == pytest.approx(falling, rel=1e-4)
    assert (proposal.pool_size, proposal.scored) == (12, told[-1][1])
    for row, prediction in zip(rows, proposal.images, strict=True):
        image = store.catalogue.row(row.image_id)
        kept = decode_mask(store.blobs.get(str(row.premask_sha), "png"), shape=(image.height, image.width))
        np.testing.assert_array_equal(kept, prediction.mask)
    assert {row.batch for row in store.proposals.of_round(1)} == set(range(TINY.query.batches))
    assert all(row.premask_sha is None for row in store.proposals.of_round(1) if not row.chosen)


def test_premasks_are_postprocessed_as_the_model_was_judged(tmp_path: Path, weights: bytes) -> None:
    store = store_with(tmp_path, pool=12)
    largest = Postprocessing(largest_only=True)
    add_model(store, 0, weights=weights, metrics=json.dumps({"postprocessing": asdict(largest)}))
    proposal = proposed(store)
    masks = {
        row.image_id: decode_mask(store.blobs.get(str(row.premask_sha), "png")) for row in store.proposals.chosen(1)
    }
    changed = 0
    for prediction in proposal.images:
        np.testing.assert_array_equal(masks[prediction.image_id], largest_component(prediction.mask))
        changed += not np.array_equal(masks[prediction.image_id], prediction.mask)
    assert changed


def test_the_stored_manifest_replays_the_choice(store: Store) -> None:
    proposal = proposed(store)
    (sha,) = {row.manifest_sha for row in store.proposals.of_round(1)}
    manifest = Manifest.from_json(store.blobs.get(sha, "json"))
    assert set(replay(manifest)) == {prediction.image_id for prediction in proposal.images}
    assert (manifest.round, manifest.model_id, manifest.pool_size) == (1, proposal.model.model_id, 12)
    assert sorted((row.batch, row.image_id) for row in store.proposals.of_round(1)) == sorted(
        (batch, image_id) for batch, ids in enumerate(manifest.batches) for image_id in ids
    )


def test_the_same_store_and_round_give_the_same_proposal(tmp_path: Path, weights: bytes) -> None:
    chosen = []
    for name in ("one", "two"):
        store = store_with(tmp_path / name, pool=9)
        add_model(store, 0, weights=weights)
        proposed(store)
        chosen.append([(row.batch, row.image_id, row.uncertainty) for row in store.proposals.of_round(1)])
    assert chosen[0] == chosen[1]


@pytest.mark.parametrize("selector", ["stochastic_batches", "random", "top_k"])
def test_an_image_that_was_deleted_is_left_out_with_a_warning_and_the_draw_made_without_it(
    tmp_path: Path, weights: bytes, caplog: pytest.LogCaptureFixture, selector: str
) -> None:
    store = store_with(tmp_path / "with", pool=9)
    add_model(store, 0, weights=weights)
    rehearsed = store_with(tmp_path / "rehearsed", pool=9)  # of its own: a choice keeps copies of what it chose
    add_model(rehearsed, 0, weights=weights)
    gone = dry_run(rehearsed, selector)
    path = store.catalogue.path(gone)
    path.unlink()
    proposal = proposed(store, selector=selector)
    assert (proposal.unreadable, proposal.pool_size, len(proposal.images)) == ((gone,), 8, 5)
    (warning,) = [record.getMessage() for record in caplog.records if gone in record.getMessage()]
    assert f"{path} is not there any more" in warning
    rows = [(row.batch, row.image_id, row.uncertainty) for row in store.proposals.of_round(1)]
    assert gone not in {image_id for _, image_id, _ in rows}
    other = store_with(tmp_path / "without", pool=9)
    without = choosable(other).without([gone])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("plankseg.pipeline.acquisition.propose.choosable", lambda *_: without)
        add_model(other, 0, weights=weights)
        proposed(other, selector=selector)
    assert [(row.batch, row.image_id, row.uncertainty) for row in other.proposals.of_round(1)] == rows


def dry_run(store: Store, selector: str) -> str:
    """An image that the first draw of round 1 takes, found without committing anything."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store.proposals, "commit", lambda *_: False)
        return proposed(store, selector=selector).images[0].image_id


def test_every_unreadable_image_is_found_however_often_the_draw_is_made_again(
    tmp_path: Path, weights: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    store = store_with(tmp_path, pool=9)
    add_model(store, 0, weights=weights)
    changed, *gone, one, other = choosable(store)
    store.catalogue.path(changed).write_bytes(b"other bytes")
    for image_id in gone:
        store.catalogue.path(image_id).unlink()
    proposal = proposed(store, batch_size=2, batches=1)
    assert {looked.image_id for looked in proposal.images} <= {one, other}
    assert 2 < len(proposal.unreadable) == len(set(proposal.unreadable) & {changed, *gone})
    assert proposal.pool_size == 9 - len(proposal.unreadable)
    assert len([record for record in caplog.records if "left out" in record.getMessage()]) == len(proposal.unreadable)
    assert proposed(store).unreadable == ()  # proposed already: its images are only looked at again


def test_a_pool_of_which_nothing_can_be_read_is_empty_and_says_so(tmp_path: Path, weights: bytes) -> None:
    store = store_with(tmp_path, pool=2)
    add_model(store, 0, weights=weights)
    for image_id in choosable(store):
        store.catalogue.path(image_id).unlink()
    with pytest.raises(EmptyPoolError, match="that can be read: 2 cannot"):
        proposed(store)
    assert store.proposals.rounds() == []


def test_a_second_call_looks_again_and_writes_nothing(store: Store, weights: bytes) -> None:
    first = proposed(store)
    version = store.tables.version("proposals")
    add_model(store, 1, weights=b"weights of another model, which nobody may load here")
    again = proposed(store)
    assert store.tables.version("proposals") == version
    assert again.model.round == 0
    assert [prediction.image_id for prediction in again.images] == [prediction.image_id for prediction in first.images]
    for before, after in zip(first.images, again.images, strict=True):
        np.testing.assert_array_equal(before.mask, after.mask)
    assert again.scored == 0


def test_a_kill_before_the_commit_costs_time_only(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(store.proposals, "commit", killed)
    with pytest.raises(KeyboardInterrupt):
        proposed(store)
    monkeypatch.undo()
    assert store.proposals.rounds() == []
    proposed(store)
    assert len(store.proposals.chosen(1)) == 5


@pytest.mark.parametrize("selector", ["stochastic_batches", "random", "top_k"])
def test_rounds_never_ask_twice_nor_for_the_validation_set_until_the_pool_is_empty(
    store: Store, tmp_path: Path, selector: str
) -> None:
    add_images(store, tmp_path / "later", "validation", range(1))  # the bytes of an image of the pool
    add_answers(store, 1, choosable(store)[:1], status="skipped")
    free = choosable(store)
    assert len(free) == 10
    asked: list[str] = []
    for n, size in ((1, 5), (2, 5)):
        proposal = proposed(store, n, selector=selector)
        assert len(proposal.images) == size
        asked += [prediction.image_id for prediction in proposal.images]
    assert sorted(asked) == free
    with pytest.raises(EmptyPoolError, match="pool"):
        proposed(store, 3, selector=selector)
    assert store.proposals.rounds() == [1, 2]


def test_a_pool_smaller_than_the_batch_is_proposed_whole(tmp_path: Path, weights: bytes) -> None:
    store = store_with(tmp_path, pool=3)
    add_model(store, 0, weights=weights)
    assert {prediction.image_id for prediction in proposed(store).images} == set(store.catalogue.ids("pool"))


def test_without_a_model_the_flow_to_run_first_is_named(tmp_path: Path) -> None:
    store = store_with(tmp_path, pool=2)
    with pytest.raises(TrainingError, match="pretrain"):
        proposed(store)


def test_another_seed_or_round_draws_other_batches(store: Store) -> None:
    proposed(store, 1)
    first = {frozenset(row.image_id for row in store.proposals.of_round(1) if row.batch == b) for b in range(4)}
    store2 = Store.open(store.root)
    add_model(store2, 1, weights=store2.models.weights(str(store2.models.active().model_id)))  # type: ignore[union-attr]
    proposed(store2, 2)
    second = {frozenset(row.image_id for row in store.proposals.of_round(2) if row.batch == b) for b in range(4)}
    assert first != second
