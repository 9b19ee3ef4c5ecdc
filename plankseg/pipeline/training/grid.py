"""The runs of a grid: every combination of its values on top of a recipe, each with a name of its own."""

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from plankseg.config import Grid, Recipe
from plankseg.errors import SettingsError


@dataclass(frozen=True)
class Run:
    """One combination: a name that a person can read, and the whole recipe."""

    key: str
    recipe: Recipe


def planned_runs(base: Recipe, grid: Grid) -> tuple[Run, ...]:
    """The runs of a grid in a fixed order, the last axis turning fastest; an empty axis keeps the base's value.

    Raises SettingsError for a grid without any value.
    """
    network, training = base.network, base.training
    axes = {
        ("network", "architecture"): grid.architectures or (network.architecture,),
        ("network", "encoder"): grid.encoders or (network.encoder,),
        ("network", "freeze_encoder"): grid.freeze_encoder or (network.freeze_encoder,),
        ("training", "learning_rate"): grid.learning_rates or (training.learning_rate,),
        ("training", "augmentation"): grid.augmentations or (training.augmentation,),
        ("training", "seed"): grid.seeds or (training.seed,),
    }
    lists = (
        grid.architectures,
        grid.encoders,
        grid.freeze_encoder,
        grid.learning_rates,
        grid.augmentations,
        grid.seeds,
    )
    if not any(lists):
        raise SettingsError(
            f"Grid {grid.name!r} is empty: there is nothing to compare. Give at least one list of values, for example"
            " the learning rates 1e-4 and 3e-4; for one training run the flow 'pretrain'."
        )
    recipes = [_with(base, dict(zip(axes, values, strict=True))) for values in product(*axes.values())]
    return tuple(Run(_key(recipe, names_encoder=len(grid.encoders) > 1), recipe) for recipe in recipes)


def short_names(keys: tuple[str, ...]) -> dict[str, str]:
    """Each key without the words that all keys share at the same place; a single key stays whole."""
    words = [key.split() for key in keys]
    if len(keys) < 2 or len({len(each) for each in words}) > 1:
        return {key: key for key in keys}
    differs = [len(set(column)) > 1 for column in zip(*words, strict=True)]
    is_kept = [d or (n + 1 < len(differs) and differs[n + 1] and words[0][n] in _UNITS) for n, d in enumerate(differs)]
    return {
        key: " ".join(word for word, keep in zip(each, is_kept, strict=True) if keep)
        for key, each in zip(keys, words, strict=True)
    }


_UNITS = ("lr", "seed")  # words that give the number after them its meaning


def _with(base: Recipe, values: dict[tuple[str, str], Any]) -> Recipe:
    changed: dict[str, Any] = base.model_dump()
    changed["training"]["devices"] = 1  # every run has a GPU of its own
    for (group, name), value in values.items():
        changed[group][name] = value
    return Recipe.model_validate(changed)


def _key(recipe: Recipe, *, names_encoder: bool) -> str:
    network, training = recipe.network, recipe.training
    rate = np.format_float_scientific(training.learning_rate, trim="-", exp_digits=1)
    parts = [
        network.architecture,
        *([network.encoder] if names_encoder else []),
        "frozen" if network.freeze_encoder else "unfrozen",
        f"lr {rate}",
        training.augmentation,
        f"seed {training.seed}",
    ]
    return " ".join(parts)
