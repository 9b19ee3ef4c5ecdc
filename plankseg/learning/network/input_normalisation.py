"""The mean and deviation that an encoder's weights were trained with, kept with the model.

Every square is normalised in one way (`preprocessing`): by the means of ImageNet. An encoder whose weights expect other
values gets two buffers with its own mean and deviation, and turns its input into them before its first layer. They are
saved with the weights, so a model carries its preprocessing wherever it goes: into OpenVINO, into 8 bits, into another
store. A model without these buffers was trained on the common normalisation and is used with it.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from huggingface_hub import hf_hub_download, try_to_load_from_cache

from plankseg.config import NetworkConfig
from plankseg.errors import WeightsError
from plankseg.learning.network.encoder_weights import TIMM_PREFIX, from_hub, on_hub
from plankseg.learning.network.packaged_weights import is_packaged
from plankseg.learning.network.preprocessing import CHANNEL_DEVIATIONS, CHANNEL_MEANS
from plankseg.learning.network.torchvision_compat import timm

MEAN, DEVIATION = "input_mean", "input_deviation"
_SETTINGS = "config.json"
_KNOWN = ("resnet", "resnext50_32x4d", "vgg", "densenet", "mobilenet_v2", "efficientnet-b")
"""Encoders whose `imagenet` weights were trained with the common normalisation; the hub need not be asked."""


class Normalisation(NamedTuple):
    """Mean and standard deviation of each channel, for pixels from 0 to 1."""

    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]


COMMON = Normalisation(CHANNEL_MEANS, CHANNEL_DEVIATIONS)
INCEPTION = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def normalisation_for(config: NetworkConfig) -> Normalisation:
    """What the encoder's starting weights expect; a random start and a file of weights take the common one.

    Raises WeightsError when that is only known on the hub, which does not answer.
    """
    if not from_hub(config):
        return COMMON
    if is_packaged(config):
        return INCEPTION
    if config.encoder.startswith(TIMM_PREFIX):
        settings = timm.models.get_pretrained_cfg(config.encoder.removeprefix(TIMM_PREFIX))
        return _normalisation(settings.mean, settings.std)
    if config.encoder.startswith(_KNOWN) and config.encoder_weights == "imagenet":
        return COMMON
    return _from_hub(config)


def set_normalisation(encoder: torch.nn.Module, normalisation: Normalisation) -> None:
    """Have the encoder turn its input into this normalisation; the common one changes nothing."""
    if normalisation == COMMON:
        return
    encoder.register_buffer(MEAN, torch.tensor(normalisation.mean))
    encoder.register_buffer(DEVIATION, torch.tensor(normalisation.deviation))
    encoder.register_forward_pre_hook(_renormalise)


def restore_normalisation(encoder: torch.nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Make room for the normalisation that a stored model carries, if it does, before its weights are loaded."""
    if f"encoder.{MEAN}" in tensors:
        set_normalisation(encoder, INCEPTION)  # any but the common one: the stored values replace it


def normalisation_of(tensors: Mapping[str, torch.Tensor]) -> Normalisation:
    """The normalisation that a stored model was trained with."""
    if f"encoder.{MEAN}" not in tensors:
        return COMMON
    return _normalisation(tensors[f"encoder.{MEAN}"].tolist(), tensors[f"encoder.{DEVIATION}"].tolist())


def _renormalise(encoder: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """From the common normalisation to the encoder's own."""
    (x,) = inputs
    mean, deviation = encoder.get_buffer(MEAN).to(x), encoder.get_buffer(DEVIATION).to(x)
    factor = x.new_tensor(CHANNEL_DEVIATIONS) / deviation
    shift = (x.new_tensor(CHANNEL_MEANS) - mean) / deviation
    return (x * factor.view(1, 3, 1, 1) + shift.view(1, 3, 1, 1),)


def _from_hub(config: NetworkConfig) -> Normalisation:
    repository, revision = on_hub(config)
    path = try_to_load_from_cache(repository, _SETTINGS, revision=revision)
    if not isinstance(path, str):
        try:
            path = hf_hub_download(repository, _SETTINGS, revision=revision, etag_timeout=3.0)
        except Exception as error:
            raise WeightsError(
                f"How the {config.encoder_weights} weights of {config.encoder} want their input is written in "
                f"{_SETTINGS} of {repository}, which is not in the hub's cache and cannot be downloaded "
                f"({type(error).__name__}). Copy that folder from a machine that has it, or choose another encoder."
            ) from error
    settings = json.loads(Path(path).read_text(encoding="utf-8"))
    scale = 255.0 if max(settings.get("input_range", [0, 1])) > 1 else 1.0
    return _normalisation([value / scale for value in settings["mean"]], [value / scale for value in settings["std"]])


def _normalisation(mean: list[float] | tuple[float, ...], deviation: list[float] | tuple[float, ...]) -> Normalisation:
    (a, b, c), (d, e, f) = mean, deviation
    return Normalisation((a, b, c), (d, e, f))
