"""Recipes with names: the published one unchanged, the others whole and within their means."""

from pathlib import Path
from typing import get_args

import pytest

from plankseg.config import QueryConfig, Recipe, RecipeName, RoundsConfig, TrainingConfig
from plankseg.errors import SettingsError
from plankseg.learning.network.packaged_weights import is_packaged
from plankseg.pipeline.ingest.register_images import IngestOptions, ingest_folder
from plankseg.pipeline.models.named_recipes import chosen_recipe, named_recipe, recipe_for
from tests.support.little_store import add_answers, clean_image, noisy_image, square, store_with, write_images


def test_published_is_the_default_recipe_whatever_the_number_of_images() -> None:
    assert named_recipe("published", 3) == named_recipe("published", 10_000) == Recipe()


@pytest.mark.parametrize("name", get_args(RecipeName))
def test_every_name_gives_a_recipe_that_survives_its_json(name: RecipeName) -> None:
    recipe = named_recipe(name, 500)
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe


def test_laptop_needs_no_hub_and_draws_as_the_images_allow() -> None:
    assert is_packaged(named_recipe("laptop", 500).network)
    draws = [named_recipe("laptop", images).training.draws_per_epoch for images in (1, 40, 190, 500, 100_000)]
    assert draws == [32, 80, 380, 1000, 1024]


def test_a_stores_recipe_counts_masks_outside_of_the_validation_set_and_keeps_the_rest(tmp_path: Path) -> None:
    store = store_with(tmp_path, source=40, pool=10, validation=4)
    others = Recipe(query=QueryConfig(batch_size=7), rounds=RoundsConfig(budget=3))
    found = recipe_for(store, "laptop", others)
    assert found.training == named_recipe("laptop", 40).training
    assert (found.query, found.rounds) == (others.query, others.rounds)
    assert found.validation == others.validation.model_copy(update={"ask_for": 20})
    add_answers(store, 1, store.catalogue.ids("pool")[:5], mask=square((34, 41), 9))
    assert recipe_for(store, "laptop", others).training == named_recipe("laptop", 45).training


def test_numbers_that_a_named_recipe_would_replace_are_refused_and_ones_own_are_taken(tmp_path: Path) -> None:
    store = store_with(tmp_path, source=6, validation=2)
    query = QueryConfig(batch_size=7)
    changed = Recipe(training=TrainingConfig(epochs=3, batch_size=4), query=query)
    with pytest.raises(SettingsError, match=r"so training\.epochs, training\.batch_size would not be used.*'own'"):
        chosen_recipe(store, "laptop", changed)
    assert chosen_recipe(store, "own", changed) == changed
    assert chosen_recipe(store, "laptop", Recipe()).query.random_controls == 2
    kept = Recipe(query=query)
    assert chosen_recipe(store, "laptop", kept) == recipe_for(store, "laptop", kept)


def test_a_crowded_pool_gets_neighbours_and_any_other_none(tmp_path: Path) -> None:
    store = store_with(tmp_path, source=6, validation=2)
    options = IngestOptions(automatic_masks=True)
    ingest_folder(
        store, write_images(tmp_path / "clean", range(3000, 3008), draw=clean_image), role="pool", options=options
    )
    ingest_folder(store, write_images(tmp_path / "noise", range(2)), role="pool", options=options)
    assert recipe_for(store, "laptop", Recipe()).training.neighbour_share == 0, "8 of 10 got an automatic mask"
    ingest_folder(store, write_images(tmp_path / "noise", range(2, 4)), role="pool", options=options)
    assert recipe_for(store, "laptop", Recipe()).training.neighbour_share == 0.7
    assert recipe_for(store, "published", Recipe()) == Recipe()


@pytest.mark.parametrize(("validation", "neighbours"), [(9, 0.0), (10, 0.7), (230, 0.7)])
def test_where_the_pool_has_no_automatic_masks_the_validation_images_tell_whether_it_is_crowded(
    tmp_path: Path, validation: int, neighbours: float
) -> None:
    store = store_with(tmp_path, source=6, pool=3, validation=validation)
    assert recipe_for(store, "laptop", Recipe()).training.neighbour_share == neighbours


@pytest.mark.parametrize(
    ("size", "zoom", "side"), [((60, 100), 1.0, 384), ((150, 60), None, 160), ((20, 30), None, 160)]
)
def test_images_of_another_scale_than_the_source_are_laid_into_one_square(
    tmp_path: Path, size: tuple[int, int], zoom: float | None, side: int
) -> None:
    store = store_with(tmp_path, source=6)
    folder = write_images(tmp_path / "pool", range(5), draw=lambda seed: noisy_image(seed, size))
    ingest_folder(store, folder, role="pool")
    training = recipe_for(store, "laptop", Recipe()).training
    assert (training.largest_zoom, training.side_px) == (zoom, side)
    assert recipe_for(store, "published", Recipe()) == Recipe()


def test_without_a_pool_the_validation_images_tell_the_scale(tmp_path: Path) -> None:
    store = store_with(tmp_path, source=6)
    folder = write_images(tmp_path / "judged", range(5), draw=lambda seed: noisy_image(seed, (300, 300)))
    ingest_folder(store, folder, role="validation")
    assert recipe_for(store, "quality", Recipe()).training.largest_zoom is None
    assert recipe_for(store, "quality", Recipe()).training.side_px == 256
