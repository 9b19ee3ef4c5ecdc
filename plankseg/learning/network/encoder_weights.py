"""Sources of the encoder's weights: the hub's cache, the hub, a file, or (only when asked for) a random start."""

from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache

from plankseg.config import NetworkConfig
from plankseg.errors import SettingsError, WeightsError
from plankseg.learning.network.torchvision_compat import smp, timm

TIMM_PREFIX = "tu-"
_FILE = "model.safetensors"
_PROBE_SECONDS = 3.0


def from_hub(config: NetworkConfig) -> bool:
    """Whether the weights have a name on the hub ('imagenet', for some encoders also others)."""
    return config.encoder_weights != "none" and not config.encoder_weights.endswith(".safetensors")


def find_encoder_weights(config: NetworkConfig) -> Path | None:
    """The file of the encoder's weights, downloaded if need be; None only for a random start that was asked for.

    Raises:
        WeightsError: the file is missing, or the weights are not in the cache and the hub does not answer at once.
        SettingsError: the encoder has no weights of that name.
    """
    if config.encoder_weights == "none":
        return None
    if from_hub(config):
        repository, revision = on_hub(config)
        return _cached_or_downloaded(config, repository, revision)
    path = Path(config.encoder_weights).expanduser()
    if not path.is_file():
        raise WeightsError(
            f"encoder_weights={config.encoder_weights} is no file. Give the path of a .safetensors file."
        )
    return path


def read_tensors(data: bytes, source: str) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file; nothing in it can run. Raises WeightsError when it is none."""
    try:
        return dict(safetensors.torch.load(data))
    except safetensors.SafetensorError as error:
        raise WeightsError(
            f"{source} is no safetensors file ({error}). Files in other formats are never opened, since they can run"
            " code: convert it with safetensors.torch.save_file where you trust it."
        ) from error


def load_strictly(module: torch.nn.Module, tensors: Mapping[str, torch.Tensor], source: str) -> None:
    """Load all tensors into the module. Raises WeightsError unless every name and every size fits."""
    try:
        module.load_state_dict(dict(tensors), strict=True)
    except (RuntimeError, KeyError) as error:
        raise WeightsError(
            f"{source} does not fit the network: {str(error)[:400]} ... Give the weights of the same architecture and"
            " encoder, or change the recipe's."
        ) from error


def on_hub(config: NetworkConfig) -> tuple[str, str | None]:
    """Repository and revision of the weights. Raises SettingsError when there are none of that name."""
    if config.encoder.startswith(TIMM_PREFIX):
        known = timm.models.get_pretrained_cfg(config.encoder.removeprefix(TIMM_PREFIX))
        repository = getattr(known, "hf_hub_id", None)
        if config.encoder_weights == "imagenet" and repository:
            return str(repository), None
        names = ["imagenet"] if repository else []
    else:
        available = smp.encoders.encoders.get(config.encoder, {}).get("pretrained_settings", {})
        if config.encoder_weights in available:
            settings = available[config.encoder_weights]
            return str(settings["repo_id"]), str(settings["revision"])
        names = sorted(available)
    raise SettingsError(
        f"Encoder {config.encoder!r} has no weights {config.encoder_weights!r}. Set encoder_weights to one of"
        f" {[*names, 'none']}, or to the path of a .safetensors file."
    )


def _cached_or_downloaded(config: NetworkConfig, repository: str, revision: str | None) -> Path:
    cached = try_to_load_from_cache(repository, _FILE, revision=revision)
    if isinstance(cached, str):
        return Path(cached)
    try:
        if constants.is_offline_mode():
            raise ConnectionError("HF_HUB_OFFLINE is set")
        # One quick question first: the download itself retries for half a minute where there is no network.
        get_hf_file_metadata(hf_hub_url(repository, _FILE, revision=revision), timeout=_PROBE_SECONDS)
        return Path(hf_hub_download(repository, _FILE, revision=revision, etag_timeout=_PROBE_SECONDS))
    except Exception as error:
        raise WeightsError(
            f"The {config.encoder_weights} weights of {config.encoder} are not in {constants.HF_HUB_CACHE} and cannot"
            f" be downloaded ({type(error).__name__}: {error}). Three ways out: put {repository} at revision"
            f" {revision or 'main'} into $HF_HOME/hub (copy that folder from a machine that has it); give a file,"
            " encoder_weights=<path>.safetensors; or start from random weights, encoder_weights=none."
        ) from error
