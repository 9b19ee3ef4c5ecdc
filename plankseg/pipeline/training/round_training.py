"""Training of a round's model: model 0 on the source, model n also on the corrections of rounds 1 to n."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from plankseg.config import Recipe, Settings
from plankseg.learning.trainer import EpochReport, TrainedModel
from plankseg.pipeline.training.train_and_register import Registration, Training, train_and_register
from plankseg.pipeline.training.training_set import training_set
from plankseg.pipeline.training.verdict import compare_with_active, with_rival
from plankseg.storage.store import Store
from plankseg.storage.tables.models import ModelRow


def fit(
    store: Store,
    recipe: Recipe,
    settings: Settings,
    *,
    round_number: int,
    report: Callable[[EpochReport], None] = lambda _: None,
) -> ModelRow:
    """Train model n, compare it with the active one and commit it; if it is there already, return it.

    Raises what `train_and_register` raises.
    """
    existing = store.models.of_round(round_number)
    if existing is not None:
        _remove_checkpoints(store, round_number)  # left behind by a kill right after the commit
        return existing
    active = store.models.active()
    data = training_set(store, recipe, round_number)
    start = active if recipe.training.warm_start else None
    training = Training.of_store(store, recipe, data, round_number, start)

    def columns(model: TrainedModel, metrics: Mapping[str, Any]) -> Mapping[str, Any]:
        verdict = compare_with_active(store, model.scores, data, settings)  # a person may have promoted another since
        return {
            "parent": active.model_id if active else None,
            "promoted": verdict.promoted,
            "reason": with_rival(verdict.reason, metrics),
            "metrics": {"compared": asdict(verdict.comparison) if verdict.comparison else None},
        }

    work_dir = store.work_dir(f"train-{round_number}-{training.fingerprint[:16]}")
    row = train_and_register(store, training, settings, Registration(work_dir, columns, report))
    _remove_checkpoints(store, round_number)
    return store.models.of_round(round_number) or row


def _remove_checkpoints(store: Store, round_number: int) -> None:
    """Remove the work folders of a round, also those of trainings on labels that have changed since."""
    for folder in store.work_root.glob(f"train-{round_number}-*"):
        shutil.rmtree(folder)
