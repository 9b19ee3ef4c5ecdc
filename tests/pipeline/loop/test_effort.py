"""What a round cost the person, blind images and random ones apart, and when more rounds bring nothing."""

from pathlib import Path

import pytest

from plankseg.config import RoundsConfig
from plankseg.pipeline.loop.effort import anchoring_of, effort_of, plateau_reason
from plankseg.pipeline.loop.progress import describe, due, read_progress
from plankseg.pipeline.pool.candidates import choosable
from plankseg.pipeline.reports.effort_plot import effort_markdown, effort_rows, effort_table
from plankseg.storage.store import Store
from plankseg.storage.tables.proposals import ProposalRow
from tests.support.little_store import MANIFEST, add_answers, add_model, square, store_with

MASK = square((34, 41), 9)


def ask(store: Store, round_number: int, **groups: int) -> list[str]:
    """A proposal of so many images of each kind: shown, blind, control."""
    kinds = [kind for kind, count in groups.items() for _ in range(count)]
    ids = choosable(store)[: len(kinds)]
    rows = [
        ProposalRow(
            round=round_number,
            image_id=image_id,
            uncertainty=0.5,
            batch=None if kind == "control" else 0,
            chosen=kind != "control",
            control=kind == "control",
            blind=kind == "blind",
            model_id=MANIFEST,
            seed=0,
            manifest_sha=MANIFEST,
        )
        for image_id, kind in zip(ids, kinds, strict=True)
    ]
    assert store.proposals.commit(round_number, rows)
    return ids


def answer(store: Store, round_number: int, ids: list[str], dice: list[float], seconds: float) -> None:
    for image_id, value in zip(ids, dice, strict=True):
        px = round(100 * (1 - value))
        add_answers(store, round_number, [image_id], mask=MASK, dice_to_premask=value, changed_px=px, seconds=seconds)


def test_effort_is_redrawn_dice_pixels_and_seconds_of_usable_answers_against_round_one(tmp_path: Path) -> None:
    store = store_with(tmp_path, pool=8)
    answer(store, 1, ask(store, 1, shown=3), [0.5, 0.7, 0.97], 40.0)
    second = ask(store, 2, shown=4)
    answer(store, 2, second[:3], [0.97, 0.96, 0.9], 30.0)
    add_answers(store, 2, second[3:], status="skipped", seconds=900.0)
    first, later = effort_of(store, redrawn_below=0.95)
    assert (first.shown.redrawn, first.shown.images, first.shown.dice) == (2, 3, pytest.approx(0.7233))
    assert (first.shown.changed_px_median, first.shown.changed_px_sum, first.shown.seconds_median) == (30, 83, 40.0)
    assert (later.shown.redrawn, later.shown.images, first.seconds_saved, later.seconds_saved) == (1, 3, 0.0, 30.0)
    assert later.blind is later.control is anchoring_of(store) is None
    text = effort_markdown([first, later], None)
    assert "| 2 | 1/3 | 0.943 | 4 | 17 | 30.0 | 30 |" in text, (
        "how they were asked is the same for all, and is left out"
    )
    assert "data:image/png;base64," in text
    assert len(text) < 100_000


def test_masks_made_with_clicks_and_without_are_compared_within_the_rounds_that_have_both(tmp_path: Path) -> None:
    store = store_with(tmp_path, pool=12)
    ids = ask(store, 1, shown=5)
    for image_id, clicks, seconds in zip(ids, (3, 2, 0, 0, 0), (8.0, 10.0, 30.0, 40.0, 2.0), strict=True):
        origin = "accepted" if seconds == 2.0 else "corrected"
        add_answers(store, 1, [image_id], mask=MASK, clicks=clicks, outlines=0, seconds=seconds, origin=origin)
    answer(store, 2, ask(store, 2, shown=3), [0.9] * 3, 20.0)  # of an earlier plankseg: nobody counted
    first, later = effort_of(store, redrawn_below=0.95)
    assert first.clicked is not None
    assert first.brushed is not None
    assert (first.clicked.images, first.clicked.clicks, first.clicked.seconds_median) == (2, 5, 9.0)
    assert (first.brushed.images, first.brushed.clicks, first.brushed.seconds_median) == (2, 0, 35.0)
    assert (first.shown.clicks, later.shown.clicks, later.clicked, later.brushed) == (5, None, None, None)
    headings, rows = effort_table([first, later])
    assert headings[6:] == ("clicks", "s per image", "s saved"), "nobody drew an outline"
    assert [row[6] for row in rows] == ["5", "5", "0", ""]
    assert [row[1] for row in effort_rows([first, later])] == [
        *("with pre-mask", "- by clicks", "- by brush"),
        "with pre-mask",
    ]


def test_blind_images_and_random_ones_are_shown_apart_and_tell_how_much_a_premask_anchors(tmp_path: Path) -> None:
    store = store_with(tmp_path, pool=20)
    ids = ask(store, 1, shown=4, blind=3, control=2)
    answer(store, 1, ids, [0.99, 0.98, 0.97, 0.96, 0.8, 0.82, 0.81, 0.6, 0.97], 20.0)
    (one,) = effort_of(store, redrawn_below=0.95)
    assert one.blind is not None
    assert one.control is not None
    assert [(e.redrawn, e.images) for e in (one.shown, one.blind, one.control)] == [(0, 4), (3, 3), (1, 2)]
    assert [row[1] for row in effort_rows([one])] == ["with pre-mask", "without pre-mask", "picked at random"]
    found = anchoring_of(store)
    assert found is not None
    assert (found.shown, found.blind, found.difference) == (4, 3, pytest.approx(0.165))
    assert 0.1 < found.low < found.difference < found.high < 0.2


def flat_store(tmp_path: Path, redrawn: list[int], dices: list[float], *, sets: list[str] | None = None) -> Store:
    """Rounds of ten images of which so many were redrawn, and models of that Dice."""
    store = store_with(tmp_path, source=1, pool=10 * len(redrawn) + 1)
    add_model(store, 0)
    for n, (count, dice) in enumerate(zip(redrawn, dices, strict=True), start=1):
        answer(store, n, ask(store, n, shown=10), [0.5] * count + [0.99] * (10 - count), 20.0)
        add_model(store, n, validation_dice=dice, validation_set=sets[n - 1] if sets else "validation set")
    return store


@pytest.mark.parametrize(
    ("redrawn", "dices", "flat"),
    [
        ([9, 9, 9], [0.7, 0.701, 0.702], True),
        ([9, 5, 5, 5], [0.5, 0.7, 0.7, 0.7], True),
        ([5, 6, 7], [0.7, 0.6, 0.5], True),  # worse is no gain either
        ([9, 8, 9], [0.7, 0.7, 0.7], False),
        ([9, 9, 9], [0.7, 0.7, 0.71], False),
        ([9, 9], [0.7, 0.7], False),
    ],
)
def test_flat_is_no_gain_in_effort_and_none_in_dice_over_three_rounds(
    tmp_path: Path, redrawn: list[int], dices: list[float], flat: bool
) -> None:
    store = flat_store(tmp_path, redrawn, dices)
    assert bool(plateau_reason(store, RoundsConfig())) is flat
    assert plateau_reason(store, RoundsConfig(stop_when_flat=False)) == ""


def test_dice_of_different_images_is_never_called_flat(tmp_path: Path) -> None:
    store = flat_store(tmp_path, [9, 9, 9], [0.7, 0.7, 0.7], sets=["a", "a", "b"])
    assert plateau_reason(store, RoundsConfig()) == ""


def test_models_of_an_earlier_plankseg_are_comparable_though_it_named_their_images_otherwise(tmp_path: Path) -> None:
    names = [f"{half} half of the validation set (30 images)" for half in ("selection", "selection", "deciding")]
    store = flat_store(tmp_path, [9, 9, 9], [0.7, 0.7, 0.7], sets=names)
    assert plateau_reason(store, RoundsConfig()) != ""


def test_a_flat_loop_waits_and_says_why_and_how_to_go_on(tmp_path: Path) -> None:
    store = flat_store(tmp_path, [9, 9, 9], [0.7, 0.7, 0.7])
    flat = plateau_reason(store, RoundsConfig())
    progress = read_progress(store)
    assert due(progress, budget=9, flat=flat) == "wait"
    assert due(progress, budget=9) == "propose"
    assert due(progress, budget=3, flat=flat) == "finished"
    assert describe(progress, budget=9, flat=flat) == (
        "Waiting: rounds 1 to 3 brought neither less effort (masks strongly changed: 9/10, 9/10, 9/10) nor a better "
        "Dice (0.700, 0.700, 0.700). To go on all the same run the flow 'advance' with 'Go on although nothing "
        "improves'; else run 'finalize'."
    )
