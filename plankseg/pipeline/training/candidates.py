"""Which recipe makes the best first model? Every run of a grid is trained once, and recorded as a candidate."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from jaxtyping import UInt8

from plankseg.config import Recipe, Settings
from plankseg.errors import StoreBusyError
from plankseg.learning.trainer import EpochReport
from plankseg.pipeline.pool.style_references import reference_squares
from plankseg.pipeline.training.grid import Run
from plankseg.pipeline.training.round_training import TrainingSet, recorded_metrics, row_of, train_on, training_set
from plankseg.storage.store import Store
from plankseg.storage.tables.models import ModelRow


def fit_candidate(
    store: Store,
    run: Run,
    settings: Settings,
    *,
    experiment: str,
    report: Callable[[EpochReport], None] = lambda _: None,
) -> ModelRow:
    """Train one run on the source alone, as model 0 would be, and record it; a finished run is only looked up.

    A training that was killed goes on where its last epoch ended. What counts as finished is the fingerprint of
    recipe and data, so that another experiment's run with the same is taken as it is.

    Raises:
        TrainingError: nothing to train on, or the loss is no longer finite.
        WeightsError: the encoder's weights cannot be had.
    """
    data = training_set(store, run.recipe, 0)
    references = reference_squares(store, run.recipe, 0)
    name = fingerprint(run.recipe, data, references)
    work_dir = store.work_dir(f"candidate-{name[:32]}")
    row = store.models.candidate(name)
    if row is None:
        model = train_on(
            data, store, run.recipe, settings,
            round_number=0, start=None, work_dir=work_dir, report=report, references=references,
        )  # fmt: skip
        metrics = recorded_metrics(store, model, data, run.recipe, settings)
        row = row_of(
            model, data, run.recipe, metrics,
            round=0, promoted=False, reason=f"a candidate of experiment {experiment!r}",
            experiment=experiment, candidate=run.key, fingerprint=name,
        )  # fmt: skip
        store.models.put_weights(model.weights)
        store.models.commit(row)
    shutil.rmtree(work_dir)  # the model is safe
    return row


def fingerprint(recipe: Recipe, data: TrainingSet, references: UInt8[np.ndarray, "n side side"] | None = None) -> str:
    """Names a run by all that its weights depend on: network, training, references, every image with its mask."""
    facts = {
        "network": recipe.network.model_dump(),
        "training": recipe.training.facts(),
        "examples": [[e.image_id, e.weight, data.labels[e.image_id].pixel_sha] for e in data.examples],
        "validation": [[e.image_id, data.labels[e.image_id].pixel_sha] for e in data.validation],
    }
    if references is not None:
        facts["references"] = hashlib.sha256(references.tobytes()).hexdigest()
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def devices_for(device: str, side_by_side: int | None) -> tuple[str, ...]:
    """The device of each place at which a run can be trained at the same time as others.

    'auto' with several GPUs has one place on each; every other device has one, unless `side_by_side` asks for more.
    """
    cards = torch.cuda.device_count() if device == "auto" and torch.cuda.is_available() else 0
    devices = [f"cuda:{number}" for number in range(cards)] or [device]
    return tuple(devices[index % len(devices)] for index in range(side_by_side or len(devices)))


@contextmanager
def free_device(store: Store, devices: Sequence[str]) -> Iterator[str]:
    """Hold one of the places for a run, whichever process asks; it is free again when the block or the process ends.

    Raises StoreBusyError when all of them are taken.
    """
    with ExitStack() as held:
        for index, device in enumerate(devices):
            try:
                held.enter_context(store.lock(f"device-{index}"))
            except StoreBusyError:
                continue
            yield device
            return
        raise StoreBusyError(
            f"All {len(devices)} places for trainings on {store.root} are taken; wait for one to end, or raise"
            " side_by_side."
        )
