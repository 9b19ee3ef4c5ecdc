"""Post-processing: each step alone, the choice among them, and what is recorded."""

from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from plankseg.imaging.masks import dice
from plankseg.imaging.postprocessing import CANDIDATES, PLAIN, Postprocessing, choose_postprocessing

MASKS = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=24))


def scene(*, hole: bool = False, speck: bool = False, twin: bool = False) -> np.ndarray:
    mask = np.zeros((30, 40), bool)
    mask[5:20, 5:20] = True
    if hole:
        mask[10:14, 10:14] = False
    if speck:
        mask[25, 35] = True
    if twin:
        mask[5:15, 25:35] = True
    return mask


@given(MASKS)
def test_by_default_nothing_changes(mask: np.ndarray) -> None:
    assert np.array_equal(PLAIN(mask), mask)
    assert CANDIDATES[0] == PLAIN


@given(MASKS, st.sampled_from(CANDIDATES))
def test_twice_is_once(mask: np.ndarray, candidate: Postprocessing) -> None:
    once = candidate(mask)
    assert np.array_equal(candidate(once), once)


def test_each_step_does_what_its_name_says() -> None:
    seen = scene(hole=True, speck=True, twin=True)
    assert np.array_equal(Postprocessing(fill_holes=True)(seen), scene(speck=True, twin=True))
    assert np.array_equal(Postprocessing(smallest_part=0.25)(seen), scene(hole=True, twin=True))
    assert np.array_equal(Postprocessing(fill_holes=True, largest_only=True)(seen), scene())


def test_a_map_of_probabilities_is_cut_at_one_half_first_or_where_it_says() -> None:
    probability = np.where(scene(hole=True), 0.5, 0.4).astype(np.float32)
    assert np.array_equal(PLAIN.mask_of(probability), scene(hole=True))
    assert np.array_equal(Postprocessing(fill_holes=True).mask_of(probability), scene())
    assert Postprocessing(cut=0.3).mask_of(probability).all()
    assert not Postprocessing(cut=0.6).mask_of(probability).any()


def grey_of(mask: np.ndarray) -> np.ndarray:
    return np.where(mask, 80, 255).astype(np.uint8)


def test_the_automatic_mask_is_taken_where_it_means_the_same_object() -> None:
    rough = np.zeros((30, 40), np.float32)
    rough[6:20, 5:19] = 1.0  # a row and a column too little
    chosen = Postprocessing(automatic_above=0.8)
    assert chosen.uses_image
    assert np.array_equal(chosen.mask_of(rough, grey_of(scene())), scene())
    elsewhere = np.roll(rough, 18, axis=1)
    assert np.array_equal(chosen.mask_of(elsewhere, grey_of(scene())), elsewhere > 0)
    flat = np.full((30, 40), 200, np.uint8)
    assert np.array_equal(chosen.mask_of(rough, flat), rough > 0), "no automatic mask: the model's stays"


def choose(predicted: list[np.ndarray], truth: list[np.ndarray], *, greys: list[np.ndarray] | None = None):
    flat = [np.full(mask.shape, 200, np.uint8) for mask in truth]
    return choose_postprocessing([mask.astype(np.float32) for mask in predicted], greys or flat, truth)


def test_the_best_of_all_is_chosen_and_the_plainest_of_equals() -> None:
    predicted, truth = [scene(hole=True, speck=True)] * 6, [scene()] * 6
    chosen = choose(predicted, truth)
    assert chosen == Postprocessing(fill_holes=True, smallest_part=0.05)
    assert dice(chosen(predicted[0]), truth[0]) == 1.0
    assert choose(truth, truth, greys=[grey_of(scene())] * 6) == PLAIN


def test_holes_stay_where_the_truth_has_them() -> None:
    truth = [scene(hole=True)] * 6
    assert choose(truth, truth) == PLAIN
    assert choose([scene(hole=True, speck=True)] * 6, truth) == Postprocessing(smallest_part=0.05)


def test_the_cut_is_chosen_where_the_probabilities_are_too_low_or_too_high() -> None:
    truth = [scene()] * 6
    greys = [np.full((30, 40), 200, np.uint8)] * 6
    low = [np.where(scene(), 0.42, 0.1).astype(np.float32)] * 6
    assert choose_postprocessing(low, greys, truth) == Postprocessing(cut=0.4)
    high = [np.where(scene(), 0.9, 0.55).astype(np.float32)] * 6
    assert choose_postprocessing(high, greys, truth) == Postprocessing(cut=0.6)


def test_the_automatic_mask_is_chosen_only_where_it_is_better() -> None:
    rough = np.zeros((30, 40), bool)
    rough[6:20, 5:19] = True
    greys = [grey_of(scene())] * 6
    assert choose([rough] * 6, [scene()] * 6, greys=greys) == Postprocessing(automatic_above=0.9)
    assert choose([rough] * 6, [rough] * 6, greys=greys) == PLAIN


def test_the_outline_is_drawn_by_the_grey_where_that_is_better_and_with_holes_and_parts_as_before() -> None:
    truth, rough, touching = (np.zeros((60, 80), bool) for _ in range(3))
    truth[15:45, 15:45] = True
    rough[18:42, 18:42] = True  # three pixels too little all around
    touching[0:60, 45:80] = True  # the automatic method cannot tell it from the object
    grey = np.where(truth | touching, 90, 235).astype(np.uint8)
    chosen = choose([rough] * 6, [truth] * 6, greys=[grey] * 6)
    assert chosen.outline_reach_px >= 2
    assert chosen.uses_image
    refined = chosen.mask_of(rough.astype(np.float32), grey)
    assert dice(refined, truth) > dice(rough, truth) + 0.05
    assert np.array_equal(chosen(refined), refined)


def test_what_was_recorded_before_outlines_were_refined_leaves_them_alone() -> None:
    before = {"fill_holes": True, "smallest_part": 0.25, "largest_only": False, "cut": 0.3, "automatic_above": None}
    assert Postprocessing.recorded({"postprocessing": before}).outline_reach_px == 0
    assert not Postprocessing.recorded({"postprocessing": before}).uses_image


def test_where_a_threshold_made_the_truth_the_automatic_mask_is_never_taken() -> None:
    rough = np.zeros((30, 40), np.float32)
    rough[6:20, 5:19] = 1.0
    chosen = choose_postprocessing([rough] * 6, None, [scene()] * 6)
    assert (chosen.automatic_above, chosen.outline_reach_px) == (None, 0)


def test_five_images_choose_nothing() -> None:
    assert choose([scene(hole=True)] * 5, [scene()] * 5) == PLAIN


@pytest.mark.parametrize("candidate", CANDIDATES)
def test_what_was_chosen_is_read_back_and_a_model_of_before_has_none(candidate: Postprocessing) -> None:
    assert Postprocessing.recorded({"postprocessing": asdict(candidate)}) == candidate
    assert Postprocessing.recorded({"dice": 0.5}) == PLAIN


def test_what_was_recorded_before_there_were_cuts_is_read_as_it_was_meant() -> None:
    before = {"fill_holes": True, "smallest_part": 0.25, "largest_only": False}
    assert Postprocessing.recorded({"postprocessing": before}) == Postprocessing(fill_holes=True, smallest_part=0.25)
