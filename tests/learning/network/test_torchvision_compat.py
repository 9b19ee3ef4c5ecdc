"""The cure for a torchvision without operators."""

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
