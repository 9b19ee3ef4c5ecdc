"""Choice of the backend that computes a model: named by the recipe, or the fastest in a trial that the store records.

The choice is recorded before the first image is scored. A run that was killed, and any other run of this model on a
machine of this kind, reads it from the store, because a second measurement of the time could give another choice.
"""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch

from plankseg.config import BackendName, InferenceConfig, Recipe, ScoringName
from plankseg.imaging.arrays import Grey
from plankseg.imaging.framing import Framing
from plankseg.inference.backend_benchmark import (
    INT8,
    BackendChoice,
    BenchmarkConfig,
    BenchmarkResult,
    benchmark_backends,
)
from plankseg.inference.backends import REFERENCE, Backend, backends_here, machine, make_backend
from plankseg.inference.quantization import quantized_backend, quantizes_here
from plankseg.inference.tta import views_of
from plankseg.learning.network.architecture import choose_device
from plankseg.learning.network.precision import Precision, uses_bf16
from plankseg.pipeline.models.loading import QUANTIZED_SUFFIX, cached_network
from plankseg.pipeline.models.recipes import framing_of, recipe_of
from plankseg.storage.store import Store
from plankseg.storage.tables.backend_choices import BackendChoiceRow
from plankseg.storage.tables.models import ModelRow

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class InferenceBackends:
    """A model in the backends that compute it here, and why in those; scores may come from another one than masks."""

    for_masks: Backend
    for_scores: Backend
    choice: BackendChoice


@dataclass(frozen=True)
class TrialImages:
    """The images from which some are drawn to try backends on, ascending, and how many are about to be scored."""

    image_ids: Sequence[str] = ()
    to_score: int = 0


def select_backends(
    store: Store, model: ModelRow, network: torch.nn.Module, recipe: Recipe, trial_images: TrialImages | None = None
) -> InferenceBackends:
    """The backends of a model on its network's device: the recipe's; for `auto` the recorded choice, else a new trial.

    Where there are too few readable trial images, or none are given, nothing is tried or recorded, and the network is
    computed as it was trained. Raises BackendError when the backend that the recipe names is not available here.
    """
    device = next(network.parameters()).device
    choice = _choose(store, model, network, recipe, trial_images or TrialImages())
    backend = make_backend(choice.backend, network, device)
    int8 = None
    if choice.quantized is not None:
        int8 = quantized_backend(store.blobs.get(choice.quantized, QUANTIZED_SUFFIX), device)
    return InferenceBackends(backend, int8 or backend, choice)


def _choose(
    store: Store, model: ModelRow, network: torch.nn.Module, recipe: Recipe, trial_images: TrialImages
) -> BackendChoice:
    device, config = next(network.parameters()).device, recipe.inference
    precision = recipe_of(model).training.precision
    here = machine(device)
    if config.backend != "auto":
        return BackendChoice(backend=config.backend, machine=here, reason="as its settings say")
    key = _key(model, recipe, here, precision)
    row = store.backend_choices.of(key)
    if row is None:
        greys = _draw_readable(store, trial_images.image_ids, config)
        if len(greys) < config.calibration_images:
            reason = f"too few images to try others on: {len(greys)} of {config.calibration_images}"
            name: BackendName = "torch-bf16" if uses_bf16(precision, device) else "torch"
            return BackendChoice(backend=name, machine=here, reason=reason)
        names: list[ScoringName] = list(backends_here(device, precision))
        if config.int8 and quantizes_here(device, precision):
            names.append(INT8)
        benchmark = BenchmarkConfig(recipe.query, framing_of(model), config, trial_images.to_score)
        result = benchmark_backends(network, greys, names, benchmark, device)
        quantized = None
        if result.quantized is not None and result.for_scores == INT8:
            quantized = store.blobs.put(result.quantized, QUANTIZED_SUFFIX)
        choice = _fastest(result, here, images=len(greys), quantized=quantized)
        row = store.backend_choices.settle(
            BackendChoiceRow(
                key=key,
                model_id=model.model_id,
                machine=here,
                backend=choice.score_backend,
                record=choice.model_dump_json(),
            )
        )
    return BackendChoice.model_validate_json(row.record)


def try_backends(
    network: torch.nn.Module, greys: Mapping[str, Grey], recipe: Recipe, framing: Framing
) -> BackendChoice:
    """The fastest backend here for the masks of a network, tried on these images, by id; nothing is recorded."""
    device = next(network.parameters()).device
    benchmark = BenchmarkConfig(recipe.query, framing, recipe.inference)
    names: list[ScoringName] = list(backends_here(device, recipe.training.precision))
    return _fastest(benchmark_backends(network, greys, names, benchmark, device), machine(device), images=len(greys))


def _fastest(result: BenchmarkResult, here: str, *, images: int, quantized: str | None = None) -> BackendChoice:
    """The fastest backend for masks; `quantized` is the stored int8 network where that is used for scores."""
    agreeing = sum(trial.agrees for trial in result.trials)
    return BackendChoice(
        backend=result.for_masks,
        machine=here,
        images=images,
        trials=result.trials,
        quantized=quantized,
        reason=f"the fastest of {agreeing} that agree with {REFERENCE}",
    )


def choose_archive_backend(store: Store, model: ModelRow, image_ids: Sequence[str], *, device: str) -> BackendChoice:
    """The backend for an archive: chosen as for a proposal, tried on some of these images.

    Workers on all machines then use the backend of this name. Raises what `select_backends` raises.
    """
    network = cached_network(store, model, choose_device(device))
    return select_backends(store, model, network, recipe_of(model), TrialImages(image_ids)).choice


def recorded_choices(store: Store, model: ModelRow) -> list[BackendChoice]:
    """What was chosen for a model's masks under its own recipe, on each kind of machine, by machine."""
    recipe, precision = recipe_of(model), recipe_of(model).training.precision
    rows = [
        row
        for row in store.backend_choices.of_model(model.model_id)
        if row.key == _key(model, recipe, row.machine, precision)
    ]
    choices = [BackendChoice.model_validate_json(row.record) for row in sorted(rows, key=lambda row: row.machine)]
    return [choice.model_copy(update={"quantized": None}) for choice in choices]  # int8 networks stay in the store


def score_key(model: ModelRow, recipe: Recipe, choice: BackendChoice) -> str:
    """Everything that a score depends on except the image, as one hash."""
    return _key_of(model, recipe, f"{INT8} {choice.quantized}" if choice.quantized else choice.backend)


def _key_of(model: ModelRow, recipe: Recipe, backend: str) -> str:
    query = recipe.query
    parts = [
        *("scores 1", model.model_id, str(model.side_px), backend, query.measure, query.region, str(query.band_px)),
        *(str(query.noise_sd), str(query.seed), *(view.name for view in views_of(query))),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _key(model: ModelRow, recipe: Recipe, here: str, precision: Precision) -> str:
    parts = (_key_of(model, recipe, "auto"), recipe.inference.model_dump_json(), here, precision)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _draw_readable(store: Store, image_ids: Sequence[str], config: InferenceConfig) -> dict[str, Grey]:
    """Readable images, drawn by the recipe's seed from ascending ids."""
    order = np.random.default_rng([config.seed, 4]).permutation(len(image_ids))
    readable = store.catalogue.readable(
        (image_ids[index] for index in order),
        lambda image_id, error: log.info("Backends are not tried on image %s: %s", image_id, error),
    )
    return dict(islice(readable, config.calibration_images))
