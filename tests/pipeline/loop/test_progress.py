"""Where the loop stands and what is due, over the whole life of a store."""

from pathlib import Path

import numpy as np
import pytest

from plankseg.config import Recipe
from plankseg.errors import SettingsError
from plankseg.pipeline.loop.progress import Progress, check_proposable, check_trainable, describe, due, read_progress
from plankseg.pipeline.models.recipes import recipe_in_force, recipe_of
from plankseg.pipeline.pool.candidates import choosable
from plankseg.storage.store import Store
from tests.support.little_store import add_answers, add_images, add_model, add_proposal, square, store_with
from tests.support.tiny_recipe import TINY

MASK = square((34, 41), 9)


def next_step(store: Store, *, budget: int) -> tuple[str, str]:
    progress = read_progress(store)
    return due(progress, budget=budget), describe(progress, budget=budget)


def test_the_life_of_a_store_until_its_budget_is_spent(tmp_path: Path) -> None:
    store = store_with(tmp_path)
    assert next_step(store, budget=2) == (
        "ingest",
        "Ingest a source (clean images) and a pool (images to choose from): run the flow 'ingest'.",
    )
    add_images(store, tmp_path, "source", range(1000, 1001))
    add_images(store, tmp_path, "pool", range(6))
    assert next_step(store, budget=2) == ("pretrain", "Train model 0 on the source: run the flow 'pretrain'.")
    add_model(store, 0)
    for n in (1, 2):
        assert next_step(store, budget=2) == ("propose", f"Choose the images of round {n}: run the flow 'advance'.")
        chosen = choosable(store)[:2]
        add_proposal(store, n, chosen)
        assert next_step(store, budget=2) == (
            "annotate",
            f"Round {n}: 2 of 2 images wait to be corrected in Label Studio.",
        )
        add_answers(store, n, chosen[:1], mask=MASK)
        assert next_step(store, budget=2) == (
            "annotate",
            f"Round {n}: 1 of 2 images wait to be corrected in Label Studio.",
        )
        add_answers(store, n, chosen[1:], status="skipped")
        assert next_step(store, budget=2) == (
            "retrain",
            f"Round {n}: retrain on the corrections: run the flow 'advance'.",
        )
        add_model(store, n, promoted=n == 1)
    step, words = next_step(store, budget=2)
    assert (step, words[:24]) == ("finished", "All rounds are done (2).")
    assert "'finalize'" in words
    assert due(read_progress(store), budget=3) == "propose"


def test_an_exhausted_pool_ends_the_loop_after_its_last_round_was_trained(tmp_path: Path) -> None:
    store = store_with(tmp_path, source=1, pool=2)
    add_model(store, 0)
    chosen = choosable(store)
    add_proposal(store, 1, chosen)
    assert read_progress(store).pool_left == 0
    assert due(read_progress(store), budget=9) == "annotate"
    add_answers(store, 1, chosen, mask=MASK)
    assert due(read_progress(store), budget=9) == "retrain"
    add_model(store, 1)
    step, sentence = next_step(store, budget=9)
    assert (step, sentence) == (
        "finished",
        "The pool has no image left after round 1; ingest more images to go on.",
    )
    add_images(store, tmp_path, "pool", range(5, 7))
    assert due(read_progress(store), budget=9) == "propose"


def test_look_says_what_the_tables_hold(tmp_path: Path) -> None:
    store = store_with(tmp_path, source=1, pool=5)
    model = add_model(store, 0)
    ids = store.catalogue.ids("pool")
    add_proposal(store, 1, [ids[3], ids[0]])
    add_answers(store, 1, [ids[3], ids[4]], mask=MASK)  # ids[4] was never asked for in this round
    assert read_progress(store) == Progress(
        source=1,
        pool_left=2,
        active_model=model.model_id,
        round=1,
        chosen=(ids[3], ids[0]),
        answered=frozenset([ids[3]]),
        models=frozenset([0]),
    )
    assert not read_progress(store).trained
    assert read_progress(store).unanswered == 1


@pytest.mark.parametrize("status", ["skipped", "unusable", "quarantined"])
def test_an_answer_of_any_kind_counts_as_dealt_with(tmp_path: Path, status: str) -> None:
    store = store_with(tmp_path, source=1, pool=3)
    add_model(store, 0)
    chosen = choosable(store)[:1]
    add_proposal(store, 1, chosen)
    add_answers(store, 1, chosen, status=status)
    assert due(read_progress(store), budget=2) == "retrain"


def test_an_image_that_was_proposed_or_answered_or_validates_is_never_choosable(tmp_path: Path) -> None:
    store = store_with(tmp_path, pool=6)
    ids = store.catalogue.ids("pool")
    assert choosable(store) == ids
    add_proposal(store, 1, ids[:2])
    add_answers(store, 1, ids[2:3], status="skipped")
    add_images(store, tmp_path / "later", "validation", range(6))  # the same bytes
    assert choosable(store) == []
    store = store_with(tmp_path / "other", pool=6)
    add_proposal(store, 1, ids[:2])
    add_answers(store, 1, ids[2:3], status="skipped")
    assert choosable(store) == ids[3:]


def test_an_image_only_looked_at_in_a_candidate_batch_stays_choosable(tmp_path: Path) -> None:
    store = store_with(tmp_path, pool=2)
    ids = store.catalogue.ids("pool")
    add_proposal(store, 1, ids[:1])
    (row,) = store.proposals.of_round(1)
    fields = {name: getattr(row, name) for name in row.__slots__}
    other = type(row)(**fields | {"round": 2, "image_id": ids[1], "chosen": False, "batch": 1})
    store.proposals.commit(2, [type(row)(**fields | {"round": 2}), other])
    assert choosable(store) == ids[1:]


def test_a_model_that_was_not_promoted_leaves_the_older_one_active(tmp_path: Path) -> None:
    store = store_with(tmp_path, source=1, pool=4)
    first = add_model(store, 0)
    add_proposal(store, 1, choosable(store)[:1])
    add_answers(store, 1, store.catalogue.ids("pool")[:1], mask=MASK)
    add_model(store, 1, promoted=False, recipe=Recipe())
    assert read_progress(store).active_model == first.model_id
    assert read_progress(store).trained
    assert due(read_progress(store), budget=3) == "propose"
    assert recipe_in_force(store) == TINY


def test_a_recipe_of_another_plankseg_is_refused_by_name(tmp_path: Path) -> None:
    row = add_model(store_with(tmp_path), 0)
    fields = {name: getattr(row, name) for name in row.__slots__}
    strange = type(row)(**fields | {"recipe": '{"training": {"magic": 1}}'})
    with pytest.raises(SettingsError, match=r"model 0 .*training\.magic"):
        recipe_of(strange)


def test_before_there_is_a_model_the_published_recipe_is_in_force(tmp_path: Path) -> None:
    assert recipe_in_force(Store.open(tmp_path)) == Recipe()


def test_a_version_of_an_answer_does_not_count_twice(tmp_path: Path) -> None:
    store = store_with(tmp_path, source=1, pool=3)
    add_model(store, 0)
    chosen = choosable(store)[:2]
    add_proposal(store, 1, chosen)
    add_answers(store, 1, chosen[:1], mask=MASK)
    add_answers(store, 1, chosen[:1], mask=np.logical_not(MASK))
    assert read_progress(store).unanswered == 1


def standing(round_number: int, models: range, *, answered: int = 2) -> Progress:
    """A loop at a round of two images."""
    return Progress(
        source=1,
        pool_left=9,
        active_model="m" if models else None,
        round=round_number,
        chosen=("a", "b") if round_number else (),
        answered=frozenset(("a", "b")[:answered] if round_number else ()),
        models=frozenset(models),
    )


BEFORE, OPEN = standing(0, range(1)), standing(2, range(2), answered=1)
ANSWERED, TRAINED = standing(2, range(2)), standing(2, range(3))


@pytest.mark.parametrize(
    ("progress", "allowed"),
    [(standing(0, range(0)), 1), (BEFORE, 1), (OPEN, 2), (ANSWERED, 2), (TRAINED, 2), (TRAINED, 3)],
)
def test_the_current_round_may_be_proposed_again_and_the_next_once_it_is_trained(
    progress: Progress, allowed: int
) -> None:
    check_proposable(progress, allowed)


@pytest.mark.parametrize(
    ("progress", "refused", "why"),
    [
        (BEFORE, 0, "Round 0 cannot be proposed: the last one proposed is 0. Round 1 is next"),
        (BEFORE, 2, "Round 1 is next"),
        (OPEN, 3, "Round 3 .* is 2. Round 2 has no model yet: correct 1 of its 2 images"),
        (ANSWERED, 3, "Round 2 has no model yet: train round 2 with the flow 'retrain'"),
        (TRAINED, 1, "the last one proposed is 2. Round 3 is next: leave the round empty, or give 3"),
        (TRAINED, 7, "Round 7 cannot be proposed"),
        (TRAINED, -1, "Round -1 cannot be proposed"),
    ],
)
def test_a_round_out_of_turn_is_not_proposed_and_the_next_step_is_named(
    progress: Progress, refused: int, why: str
) -> None:
    with pytest.raises(SettingsError, match=why):
        check_proposable(progress, refused)


@pytest.mark.parametrize(("progress", "allowed"), [(BEFORE, 0), (ANSWERED, 2), (TRAINED, 2), (OPEN, 1), (TRAINED, 0)])
def test_a_round_is_trained_when_it_is_answered_or_has_its_model_already(progress: Progress, allowed: int) -> None:
    check_trainable(progress, allowed)


@pytest.mark.parametrize(
    ("progress", "refused", "why"),
    [
        (standing(0, range(0)), 0, "Round 0 cannot be trained: no round was proposed yet; run the flow 'pretrain'"),
        (BEFORE, 1, "propose round 1 with the flow 'propose'"),
        (OPEN, 2, "Round 2 .* with 1 of 2 images unanswered; correct 1 of its 2 images in Label Studio"),
        (ANSWERED, 3, "the last one proposed is 2, with 0 of 2 images unanswered; train round 2"),
        (TRAINED, 3, "round 2 is trained; propose round 3"),
    ],
)
def test_a_round_with_open_images_is_not_trained_and_the_next_step_is_named(
    progress: Progress, refused: int, why: str
) -> None:
    with pytest.raises(SettingsError, match=why):
        check_trainable(progress, refused)
