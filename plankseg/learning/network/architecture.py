"""The segmentation network of a recipe, its weights as bytes, and the device it runs on."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from plankseg.config import NetworkConfig
from plankseg.errors import SettingsError
from plankseg.learning.network.encoder_weights import (
    TIMM_PREFIX,
    find_encoder_weights,
    from_hub,
    load_strictly,
    read_tensors,
)
from plankseg.learning.network.input_normalisation import normalisation_for, restore_normalisation, set_normalisation
from plankseg.learning.network.packaged_weights import is_packaged, packaged_tensors
from plankseg.learning.network.torchvision_compat import smp


def build_network(config: NetworkConfig, *, weights: bytes | None = None) -> torch.nn.Module:
    """The network of a recipe: float32 (n, 3, side, side) in, logits (n, 1, side, side) out, sides multiples of 16.

    `weights` are a whole model's safetensors; the encoder's own weights are then not looked for. What has no weights
    starts at random, from torch's global generator. Input is normalised by ImageNet's means, and the encoder turns it
    into what its weights were trained with, see `input_normalisation`.

    Raises:
        WeightsError: weights cannot be had or do not fit exactly.
        SettingsError: no such encoder, or one that does not go with the architecture.
    """
    path = None if weights is not None or is_packaged(config) else find_encoder_weights(config)
    network = _construct(config, path)
    if weights is not None:
        tensors = read_tensors(weights, "The stored model")
        restore_normalisation(network.encoder, tensors)
        load_strictly(network, tensors, "The stored model")
    else:
        if is_packaged(config):
            network.encoder.load_state_dict(packaged_tensors(config.encoder, network.encoder.state_dict()))
        set_normalisation(network.encoder, normalisation_for(config))
    if config.freeze_encoder:
        network.freeze_encoder()
        # smp then keeps train() and eval() from the encoder; without this its dropout would stay at work in both.
        network.encoder.eval()
    placed: torch.nn.Module = network.to(memory_format=torch.channels_last)
    return placed


def plain_network(config: NetworkConfig) -> Any:
    """The smp model of a recipe as smp makes it, with random weights. Raises SettingsError."""
    return _construct(config, None)


def tensor_bytes(tensors: Mapping[str, torch.Tensor]) -> bytes:
    """Tensors as safetensors, whatever device and memory layout they are in: the same ones give the same bytes."""
    data: bytes = safetensors.torch.save({name: tensors[name].detach().cpu().contiguous() for name in sorted(tensors)})
    return data


def choose_device(name: str) -> torch.device:
    """The device of a setting: auto (a GPU if there is one), cpu, cuda, cuda:1, mps.

    Raises SettingsError when there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, number = name.partition(":")
    counts = {
        "cpu": 1,
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
    }
    if kind in counts and (not number or number.isdecimal()) and int(number or 0) < counts[kind]:
        return torch.device(name)
    available = ", ".join(f"{kind} ({count})" for kind, count in counts.items() if count)
    raise SettingsError(
        f"There is no device {name!r} here. Set PLANKSEG_DEVICE to auto or to one of these: {available}."
    )


def _construct(config: NetworkConfig, path: Path | None) -> Any:
    """The smp model, its encoder loaded from `path`."""
    arguments: dict[str, Any] = {"encoder_name": config.encoder, "encoder_weights": None, "in_channels": 3}
    timm_file = path is not None and config.encoder.startswith(TIMM_PREFIX) and from_hub(config)
    if timm_file:  # timm knows how its files map onto its feature extractors
        arguments |= {"encoder_weights": True, "pretrained_cfg_overlay": {"file": str(path)}}
    try:
        with warnings.catch_warnings():
            # smp 0.6 renames `timm-` encoders itself and says so
            warnings.filterwarnings("ignore", "`timm-` encoders are deprecated", DeprecationWarning)
            network = getattr(smp, config.architecture)(**arguments, classes=1)
    except (KeyError, ValueError, RuntimeError) as error:
        raise SettingsError(
            f"No {config.architecture} with encoder {config.encoder!r}: {str(error)[:400]}. Choose an encoder from"
            " segmentation_models_pytorch.encoders.get_encoder_names(), or tu-<a timm model>."
        ) from error
    if path is not None and not timm_file:
        load_strictly(network.encoder, read_tensors(path.read_bytes(), str(path)), str(path))
    return network
