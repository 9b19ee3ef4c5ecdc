"""The model of `plankseg predict`, from a store or an exported folder or file, and the backend that computes it."""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from plankseg.config import BackendName, SegmentConfig
from plankseg.errors import BackendError, ModelError
from plankseg.imaging.arrays import Grey
from plankseg.inference.backend_benchmark import BackendChoice
from plankseg.inference.backends import Backend, backends_here, machine, make_backend
from plankseg.inference.onnx_graph import OnnxBackend
from plankseg.learning.network.precision import Precision, uses_bf16
from plankseg.pipeline.models.backend_choice import try_backends
from plankseg.pipeline.models.exported_model import ExportedModel, model_of_store, read_model
from plankseg.pipeline.models.registry import find_model, model_for
from plankseg.storage.store import Store

log = logging.getLogger(__name__)

ONNX = "onnxruntime"
FEWEST_FOR_A_TRIAL = 200
"""With fewer images a trial takes longer than it saves."""


def named_model(words: str | None, store: Store | None) -> ExportedModel:
    """The model that a person means: an exported folder or file, else one of the store by round, id or name.

    Without words it is the one that the flow `segment` would take. Raises ModelError where there is none.
    """
    path = None if words is None else Path(words).expanduser()
    if path is not None and (path.exists() or path.suffix.lower() in {".onnx", ".json"}):
        return read_model(path)
    if store is None:
        missing = f"There is no folder or file {words}" if words else "No model is named, and there is no store"
        raise ModelError(
            f"{missing}: give --model FOLDER (what `plankseg export-model` wrote), or --store with the store that has "
            "the model."
        )
    row = model_for(store) if words is None else find_model(store, words)
    return model_of_store(store, row)


def backend_name(
    model: ExportedModel, how: SegmentConfig, device: torch.device, draw: Callable[[int], Mapping[str, Grey]]
) -> str:
    """The backend to use: named, else the one that the store's masks were made with, else the fastest in a trial.

    Of recorded backends the one for a machine like this one comes first, else one that can be had here: masks that
    equal those at home are worth more than the last bit of speed. `draw(n)` gives up to n images to try backends on, or
    none where there are too few to make a trial worth its time: then the network is computed as it was trained.
    """
    recipe = model.facts.recipe
    if model.graph is not None:
        if how.backend != "auto":
            raise BackendError(f"An ONNX file is computed by {ONNX}, not by {how.backend}; leave the backend away.")
        return ONNX
    if how.backend != "auto":
        return how.backend
    if recipe.inference.backend != "auto":
        return recipe.inference.backend
    recorded = _recorded_backend(model.facts.backends, recipe.training.precision, device)
    if recorded is not None:
        return recorded
    greys = draw(recipe.inference.calibration_images)
    if len(greys) < recipe.inference.calibration_images:
        return "torch-bf16" if uses_bf16(recipe.training.precision, device) else "torch"
    choice = try_backends(model.network(device), greys, recipe, model.facts.framing)
    log.info("Backend %s", choice.describe())
    return choice.backend


def _recorded_backend(
    choices: Sequence[BackendChoice], precision: Precision, device: torch.device
) -> BackendName | None:
    """The backend recorded for this machine, else for one whose device is of this type, where it can be had here."""
    here, available = machine(device), backends_here(device, precision)
    usable = [
        choice
        for choice in choices
        if choice.machine == here or (choice.machine.startswith(f"{device.type}: ") and choice.backend in available)
    ]
    return next((choice.backend for choice in sorted(usable, key=lambda choice: choice.machine != here)), None)


def backend_of(model: ExportedModel, name: str, device: torch.device) -> Backend:
    """The model in the backend of this name. Raises BackendError when it is not available here."""
    if model.graph is not None:
        return OnnxBackend(model.graph)
    return make_backend(name, model.network(device), device)  # type: ignore[arg-type]  # make_backend refuses others
