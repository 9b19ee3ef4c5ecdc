"""Which network has this process at hand? The last one it loaded: a worker loads a model once, not for every shard."""

import threading

import torch

from plankseg.config import BackendName
from plankseg.inference.backend_benchmark import Inference
from plankseg.inference.backends import Backend, make_backend
from plankseg.inference.quantization import quantized_backend
from plankseg.learning.network.architecture import build_network, choose_device
from plankseg.pipeline.models.recipes import recipe_of
from plankseg.storage.store import Store
from plankseg.storage.tables.models import ModelRow

compute_lock = threading.Lock()
"""Held by a shard while it computes: one has all cores or the GPU at work, and two would share what is at hand."""

QUANTIZED_SUFFIX = "openvino"

_networks: dict[tuple[str, str], torch.nn.Module] = {}
_backends: dict[tuple[str, str, str], Backend] = {}


def cached_network(store: Store, model: ModelRow, device: torch.device) -> torch.nn.Module:
    """The network of a model on a device, from the store by its hash unless it is here already.

    Raises what `Models.weights` and `build_network` raise.
    """
    key = (model.model_id, str(device))
    if key not in _networks:
        forget()
        weights = store.models.weights(model.model_id)
        _networks[key] = build_network(recipe_of(model).network, weights=weights).to(device)
    return _networks[key]


def cached_backend(store: Store, model: ModelRow, name: BackendName, *, device: str) -> Backend:
    """The same network, ready to be asked in one of the ways. Raises BackendError when that cannot be had here."""
    where = choose_device(device)
    key = (model.model_id, str(where), name)
    if key not in _backends:
        _backends.clear()
        _backends[key] = make_backend(name, cached_network(store, model, where), where)
    return _backends[key]


def cached_ranker(store: Store, model: ModelRow, inference: Inference, *, device: str) -> Backend:
    """What scores come from: the network in 8 bits as it was made once for all, or one of the ways.

    Raises BackendError when that cannot be had here, and what `Blobs.get` raises.
    """
    if inference.quantized is None:
        return cached_backend(store, model, inference.backend, device=device)
    where = choose_device(device)
    key = (model.model_id, str(where), inference.quantized)
    if key not in _backends:
        _backends.clear()
        _backends[key] = quantized_backend(store.blobs.get(inference.quantized, QUANTIZED_SUFFIX), where)
    return _backends[key]


def forget() -> None:
    """Let go of what is at hand."""
    _networks.clear()
    _backends.clear()
