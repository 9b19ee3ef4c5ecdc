"""The cure for a torchvision without operators."""

import pytest
import torch

from plankseg.learning import frameworks

pytestmark = pytest.mark.slow


def test_operators_are_declared_exactly_when_torchvision_brings_none():
    import torchvision.extension  # only now: alone it would fail where the operators are missing

    assert bool(frameworks._declared) != torchvision.extension._has_ops()
    assert hasattr(torch.ops.torchvision, "nms")


def test_operators_that_are_there_are_left_alone():
    before = list(frameworks._declared)
    assert frameworks.torchvision_brings_operators()
    assert frameworks.declare_missing_operators() is False
    assert frameworks._declared == before
