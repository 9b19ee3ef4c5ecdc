"""The final model: trained on all answers, in larger squares and longer than in any round.

It is recorded as the candidate of the experiment 'final', so the rounds do not use it and can go on. New answers or
another configuration make another final model; the same ones are only looked up.
"""

import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from plankseg.config import FinalConfig, Recipe, Settings, TrainingConfig
from plankseg.errors import SettingsError, TrainingError
from plankseg.learning.trainer import EpochReport, TrainedModel
from plankseg.pipeline.models.registry import FINAL
from plankseg.pipeline.training.train_and_register import Registration, Training, train_and_register
from plankseg.pipeline.training.training_set import TrainingSet, training_set
from plankseg.pipeline.training.verdict import compare_with_active, with_rival
from plankseg.storage.store import Store
from plankseg.storage.tables.models import ModelRow

EVERY_ROUND = sys.maxsize


def final_recipe(recipe: Recipe, final: FinalConfig) -> Recipe:
    """The recipe of the rounds with the final training's size and length, which grow no further.

    Raises SettingsError where the two do not go together.
    """
    changed = final.model_dump(exclude={"labels_only"}) | {"epochs_per_round": 0, "side_px_per_round": 0}
    try:
        training = TrainingConfig.model_validate(recipe.training.model_dump() | changed)
    except ValidationError as error:
        raise SettingsError(f"The final training does not go with the recipe of the rounds: {error}") from error
    return recipe.model_copy(update={"training": training})


def final_set(store: Store, recipe: Recipe, *, labels_only: bool) -> TrainingSet:
    """Every usable answer of every round, and the source unless the labels alone are wanted.

    Raises TrainingError when nobody has answered anything yet.
    """
    data = training_set(store, recipe, EVERY_ROUND)
    if not data.corrections:
        raise TrainingError("Nobody has answered an image yet; correct at least one round before the final training.")
    if labels_only:
        return replace(data, examples=tuple(example for example in data.examples if example.is_correction))
    return data


def fit_final(
    store: Store,
    recipe: Recipe,
    final: FinalConfig,
    settings: Settings,
    *,
    report: Callable[[EpochReport], None] = lambda _: None,
) -> ModelRow:
    """Train the final model on the newest answers, compare it with the active one, and record it; once.

    Raises SettingsError where its size or batch does not go with the recipe of the rounds, TrainingError without
    answers, and what `train_and_register` raises.
    """
    recipe = final_recipe(recipe, final)
    data = final_set(store, recipe, labels_only=final.labels_only)
    parent = store.models.active() if final.warm_start else None
    rounds = max(data.labels[example.image_id].round for example in data.examples if example.is_correction)
    training = Training.of_store(store, recipe, data, rounds, parent)

    def columns(model: TrainedModel, metrics: Mapping[str, Any]) -> Mapping[str, Any]:
        return {
            "parent": parent.model_id if parent else None,
            "promoted": False,  # the rounds go on with their own models
            "reason": with_rival(compare_with_active(store, model.scores, data, settings).reason, metrics),
            "experiment": FINAL,
            "candidate": f"{FINAL}, {data.corrections} answers of rounds 1 to {rounds}",
            "fingerprint": training.fingerprint,
        }

    work_dir = store.work_dir(f"final-{training.fingerprint[:32]}")
    finished = store.models.candidate(training.fingerprint)
    if finished is not None:
        shutil.rmtree(work_dir)  # left behind by a kill right after the commit
        return finished
    return train_and_register(store, training, settings, Registration(work_dir, columns, report))
