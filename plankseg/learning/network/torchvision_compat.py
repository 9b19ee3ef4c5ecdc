"""Imports of segmentation_models_pytorch and timm that work beside any torchvision: import them from here.

Both import torchvision, as lightning does (`learning.lightning_compat`), whose operators may have to be declared before
(`torchvision_operators`).

Both also load torch's compiler, half of the time that all these imports take: torchvision for a function that nobody
here calls, timm to keep a method of one of its models from being compiled. They find stand-ins that load it when it is
used.
"""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
from torch._compile import _disable_dynamo

from plankseg.learning.network.torchvision_operators import declare_missing_operators

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
    "smp",
    "timm",
]
