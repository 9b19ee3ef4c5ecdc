"""Recipes with names: the published one unchanged, the others whole and within their means."""

from pathlib import Path
from typing import get_args

import pytest

from plankseg.config import QueryConfig, Recipe, RecipeName, RoundsConfig
from plankseg.learning.network.packaged_weights import is_packaged
from plankseg.pipeline.ingest.register_images import IngestOptions, ingest_folder
from plankseg.pipeline.models.named_recipes import named_recipe, recipe_for
from tests.support.little_store import add_answers, clean_image, square, store_with, write_images


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
