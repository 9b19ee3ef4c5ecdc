"""Imports of segmentation_models_pytorch and timm that work beside any torchvision: import them from here.

Both import torchvision, as lightning does (`learning.lightning_compat`). A torchvision built for CUDA beside a CPU
torch cannot load its compiled operators, and its import then ends in `operator torchvision::nms does not exist`.
Declaring the operators (nobody here calls them) cures it; where torchvision brings its own, nothing is done.
"""

import importlib.util
from pathlib import Path

import torch

_declared: list[torch.library.Library] = []  # a Library undoes its declarations when it is collected


def torchvision_brings_operators() -> bool:
    """Whether torchvision's compiled operators are there or can be loaded; True also without a torchvision."""
    if hasattr(torch.ops.torchvision, "nms"):
        return True
    spec = importlib.util.find_spec("torchvision")
    if spec is None or not spec.submodule_search_locations:
        return True
    folder = Path(spec.submodule_search_locations[0])
    for compiled in sorted([*folder.glob("_C*.so"), *folder.glob("_C*.pyd")]):
        try:
            torch.ops.load_library(str(compiled))
        except OSError:  # it needs libraries that this torch does not have
            return False
    return hasattr(torch.ops.torchvision, "nms")


def declare_missing_operators() -> bool:
    """Declare torchvision's operators if they cannot be had; tells whether that was needed."""
    if torchvision_brings_operators():
        return False
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        schema = f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        library.define(schema)
    _declared.append(library)
    return True


declare_missing_operators()

import segmentation_models_pytorch as smp  # noqa: E402  (all need the operators)
import timm  # noqa: E402
import timm.layers  # noqa: E402

__all__ = [
    "declare_missing_operators",
    "smp",
    "timm",
    "torchvision_brings_operators",
]
