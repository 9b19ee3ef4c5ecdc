"""Imports of segmentation_models_pytorch and timm that work beside any torchvision: import them from here.

Both import torchvision, as lightning does (`learning.lightning_compat`). A torchvision built for CUDA beside a CPU
torch cannot load its compiled operators, and its import then ends in `operator torchvision::nms does not exist`.
Declaring the operators (nobody here calls them) cures it; where torchvision brings its own, nothing is done.

Both also load torch's compiler, half of the time that all these imports take: torchvision for a function that nobody
here calls, timm to keep a method of one of its models from being compiled. They find stand-ins that load it when it is
used.
"""

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch._compile import _disable_dynamo

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


COMPILER = "torch._dynamo.utils"


class _LaterCompiler(ModuleType):
    """Stands in for the compiler's module: it answers by the real one, which it loads for that."""

    def is_compile_supported(self, device_type: str) -> bool:
        """What the real module's function of this name says; torchvision asks when it aligns regions."""
        return bool(_real_compiler().is_compile_supported(device_type))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # `inspect` looks through all modules for their files
            raise AttributeError(name)
        return getattr(_real_compiler(), name)


def _disable_later(function: Any = None, recursive: bool = True, **_: object) -> Any:
    """`torch.compiler.disable` as torch uses it itself: it loads the compiler at the first call."""
    return _disable_dynamo(function, recursive)


def _real_compiler() -> ModuleType:
    if isinstance(sys.modules.get(COMPILER), _LaterCompiler):
        del sys.modules[COMPILER]
    return importlib.import_module(COMPILER)


@contextmanager
def compiler_later() -> Iterator[None]:
    """Imports within do not load torch's compiler, unless they use it."""
    if COMPILER in sys.modules:
        yield
        return
    sys.modules[COMPILER], disable = _LaterCompiler(COMPILER), torch.compiler.disable
    torch.compiler.disable = _disable_later
    try:
        yield
    finally:
        torch.compiler.disable = disable
        if isinstance(sys.modules.get(COMPILER), _LaterCompiler):
            del sys.modules[COMPILER]


declare_missing_operators()

with compiler_later():
    import segmentation_models_pytorch as smp  # all need the operators
    import timm
    import timm.layers

__all__ = [
    "compiler_later",
    "declare_missing_operators",
    "smp",
    "timm",
    "torchvision_brings_operators",
]
