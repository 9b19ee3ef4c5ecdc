"""How does the last model come about? All that people answered, in large squares and longer than in any round.

It is recorded beside the models of the rounds, as the candidate of the experiment 'final': the rounds do not see it,
and can go on. New answers or another form make another final model; the same ones are only looked up.
"""

import hashlib
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace

from pydantic import ValidationError

from plankseg.config import FinalConfig, Recipe, Settings, TrainingConfig
from plankseg.errors import SettingsError, TrainingError
from plankseg.learning.trainer import EpochReport
from plankseg.pipeline.models.registry import FINAL
from plankseg.pipeline.pool.style_references import reference_squares
from plankseg.pipeline.training.candidates import fingerprint
from plankseg.pipeline.training.round_training import (
    TrainingSet,
    judge,
    recorded_metrics,
    row_of,
    train_on,
    training_set,
    with_rival,
)
from plankseg.storage.store import Store
from plankseg.storage.tables.models import ModelRow

EVERY_ROUND = sys.maxsize


def final_recipe(recipe: Recipe, final: FinalConfig) -> Recipe:
    """The recipe of the rounds with the last training's size and length, which grow no further.

    Raises SettingsError where the two do not go together.
    """
    changed = final.model_dump(exclude={"labels_only"}) | {"epochs_per_round": 0, "side_px_per_round": 0}
    try:
        training = TrainingConfig.model_validate(recipe.training.model_dump() | changed)
    except ValidationError as error:
        raise SettingsError(f"The last training does not go with the recipe of the rounds: {error}") from error
    return recipe.model_copy(update={"training": training})


def final_set(store: Store, recipe: Recipe, *, labels_only: bool) -> TrainingSet:
    """Every usable answer of every round, and the source unless the labels alone are wanted.

    Raises TrainingError when nobody has answered anything yet.
    """
    data = training_set(store, recipe, EVERY_ROUND)
    if not data.corrections:
        raise TrainingError("Nobody has answered an image yet; correct at least one round before the last training.")
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
    """Train the last model on the newest answers, compare it with the active one, and record it; once.

    A training that was killed goes on where its last epoch ended.

    Raises:
        SettingsError: the last training's size or batch does not go with the recipe of the rounds.
        TrainingError: no answers to train on, or the loss is no longer finite.
        WeightsError: the encoder's weights cannot be had.
    """
    recipe = final_recipe(recipe, final)
    data = final_set(store, recipe, labels_only=final.labels_only)
    active = store.models.active()
    parent = active if active is not None and final.warm_start else None
    rounds = max(data.labels[example.image_id].round for example in data.examples if example.is_correction)
    references = reference_squares(store, recipe, rounds)
    name = _name(fingerprint(recipe, data, references), parent, rounds)
    work_dir = store.work_dir(f"final-{name[:32]}")
    row = store.models.candidate(name)
    if row is None:
        model = train_on(
            data, store, recipe, settings,
            round_number=rounds, start=store.models.weights(parent.model_id) if parent else None,
            work_dir=work_dir, report=report, references=references,
        )  # fmt: skip
        verdict = judge(store, active, model, data, settings)
        metrics = recorded_metrics(store, model, data, recipe, settings)
        row = row_of(
            model, data, recipe, metrics,
            round=rounds, parent=parent.model_id if parent else None,
            promoted=False,  # the rounds go on with their own models
            reason=with_rival(verdict.reason, metrics), experiment=FINAL,
            candidate=f"{FINAL}, {data.corrections} answers of rounds 1 to {rounds}", fingerprint=name,
        )  # fmt: skip
        store.models.put_weights(model.weights)
        store.models.commit(row)
    shutil.rmtree(work_dir)  # the model is safe
    return row


def _name(recipe_and_data: str, parent: ModelRow | None, rounds: int) -> str:
    """Names a last training by all that its weights depend on: a warm start and the round's seed are part of it."""
    facts = [FINAL, recipe_and_data, parent.model_id if parent else "", str(rounds)]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()
