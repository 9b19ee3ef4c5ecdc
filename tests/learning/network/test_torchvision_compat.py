"""The cure for a torchvision without operators."""

import subprocess
import sys

import pytest
import torch

from plankseg.learning.network import torchvision_compat

pytestmark = pytest.mark.slow


def test_operators_are_declared_exactly_when_torchvision_brings_none():
    import torchvision.extension  # only now: alone it would fail where the operators are missing

    assert bool(torchvision_compat._declared) != torchvision.extension._has_ops()
    assert hasattr(torch.ops.torchvision, "nms")


def test_operators_that_are_there_are_left_alone():
    before = list(torchvision_compat._declared)
    assert torchvision_compat.torchvision_brings_operators()
    assert torchvision_compat.declare_missing_operators() is False
    assert torchvision_compat._declared == before


USES_NO_COMPILER = """
import sys
from plankseg.learning.network.torchvision_compat import smp
assert "torch._dynamo" not in sys.modules, "smp and timm do not load torch's compiler"
import torchvision
align = sys.modules["torchvision.ops.roi_align"]
assert align.is_compile_supported("cpu") in (True, False), "who asks is answered by the real one"
assert "torch._dynamo" in sys.modules
import torch
assert torch.compile(lambda x: x + 1, backend="eager")(torch.zeros(1)).item() == 1
"""
LOADED_WITHIN = """
import sys
from plankseg.learning.network.torchvision_compat import COMPILER, compiler_later
with compiler_later():
    from torch._dynamo.utils import counters
    import torch
    assert torch.compile(lambda x: x + 1, backend="eager")(torch.zeros(1)).item() == 1
assert sys.modules[COMPILER].counters is counters
"""


@pytest.mark.parametrize("program", [USES_NO_COMPILER, LOADED_WITHIN], ids=["asked later", "loaded within"])
def test_the_compiler_is_loaded_by_who_uses_it_alone(program: str) -> None:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
