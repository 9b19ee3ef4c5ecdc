"""Loading of stored networks and backends. The last one is cached: a worker loads a model once for many shards."""

import threading

import torch

from plankseg.config import BackendName
from plankseg.inference.backend_benchmark import BackendChoice
from plankseg.inference.backends import Backend, make_backend
from plankseg.inference.quantization import quantized_backend
from plankseg.learning.network.architecture import build_network, choose_device
from plankseg.learning.network.memory_layout import place
from plankseg.pipeline.models.recipes import recipe_of
from plankseg.storage.store import Store
from plankseg.storage.tables.models import ModelRow

compute_lock = threading.Lock()
"""Held by a shard while it computes: one shard uses all cores or the GPU, and two threads would share the cache."""

QUANTIZED_SUFFIX = "openvino"

_networks: dict[tuple[str, str], torch.nn.Module] = {}
_backends: dict[tuple[str, str, str], Backend] = {}


def load_network(store: Store, model: ModelRow, device: torch.device) -> torch.nn.Module:
    """The network of a stored model, on a device. Raises what `Models.weights` and `build_network` raise."""
    return place(build_network(recipe_of(model).network, weights=store.models.weights(model.model_id)), device)


def cached_network(store: Store, model: ModelRow, device: torch.device) -> torch.nn.Module:
    """The network of a stored model on a device, loaded unless it is in the cache. Raises as `load_network`."""
    key = (model.model_id, str(device))
    if key not in _networks:
        clear_cache()
        _networks[key] = load_network(store, model, device)
    return _networks[key]


def cached_backend(store: Store, model: ModelRow, name: BackendName, *, device: str) -> Backend:
    """The same network in a backend. Raises BackendError when the backend is not available here."""
    where = choose_device(device)
    key = (model.model_id, str(where), name)
    if key not in _backends:
        _backends.clear()
        _backends[key] = make_backend(name, cached_network(store, model, where), where)
    return _backends[key]


def cached_score_backend(store: Store, model: ModelRow, choice: BackendChoice, *, device: str) -> Backend:
    """The backend that computes scores: the stored int8 network where there is one, else the one that is named.

    Raises BackendError when it is not available here, and what `Blobs.get` raises.
    """
    if choice.quantized is None:
        return cached_backend(store, model, choice.backend, device=device)
    where = choose_device(device)
    key = (model.model_id, str(where), choice.quantized)
    if key not in _backends:
        _backends.clear()
        _backends[key] = quantized_backend(store.blobs.get(choice.quantized, QUANTIZED_SUFFIX), where)
    return _backends[key]


def clear_cache() -> None:
    """Drop the cached network and backend."""
    _networks.clear()
    _backends.clear()
