"""smp and timm are imported without torch's compiler."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow


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
