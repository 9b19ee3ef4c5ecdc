"""Probabilities at native size."""

import numpy as np
import pytest
import torch

from plankseg.errors import ScoreError
from plankseg.imaging.framing import Framing
from plankseg.imaging.letterbox import Letterbox
from plankseg.learning.network.forward import Predictor
from plankseg.learning.network.precision import uses_bf16

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


class DarkIsObject(torch.nn.Module):
    """Says 'object' where the input is dark; remembers the modes it was called in."""

    def __init__(self, gain: float = 20.0) -> None:
        super().__init__()
        self.gain = gain
        self.modes: list[bool] = []

    def forward(self, squares: torch.Tensor) -> torch.Tensor:
        self.modes.append(self.training)
        return -self.gain * squares[:, :1]


def discs() -> list[np.ndarray]:
    """Three images of odd sizes, dark disc on light ground."""
    found = []
    for height, width in ((31, 70), (64, 64), (90, 17)):
        rows, columns = np.mgrid[:height, :width]
        inside = (rows - height / 2) ** 2 + (columns - width / 2) ** 2 < (min(height, width) / 3) ** 2
        found.append(np.where(inside, 20, 240).astype(np.uint8))
    return found


def test_answers_have_each_images_own_size_and_find_the_dark_object():
    for grey, probability in zip(discs(), Predictor(DarkIsObject(), CPU).predict(discs(), Framing(64)), strict=True):
        assert probability.shape == grey.shape
        assert probability.dtype == np.float32
        assert np.mean((probability >= 0.5) == (grey < 128)) > 0.97


def test_the_way_there_is_letterbox_network_and_back():
    grey = discs()[0]
    box = Letterbox.of(grey.shape, 48)
    square = Predictor(DarkIsObject(), CPU, "fp32").square_probabilities(box.apply(grey)[None])[0]
    found = Predictor(DarkIsObject(), CPU, "fp32").predict([grey], Framing(48))[0]
    np.testing.assert_array_equal(found, box.undo(square))


def test_the_size_of_the_forward_batch_changes_nothing():
    one = Predictor(DarkIsObject(), CPU, forward_batch=1).predict(discs(), Framing(32))
    many = Predictor(DarkIsObject(), CPU, forward_batch=8).predict(discs(), Framing(32))
    for first, second in zip(one, many, strict=True):
        np.testing.assert_array_equal(first, second)


def test_the_network_answers_in_eval_mode_and_is_given_back_as_it_was():
    network = DarkIsObject().train()
    Predictor(network, CPU).predict(discs(), Framing(32))
    assert network.modes == [False]
    assert network.training


def test_no_images_give_no_answers():
    assert Predictor(DarkIsObject(), CPU).predict([], Framing(32)) == []


def test_a_spoilt_network_is_not_believed():
    with pytest.raises(ScoreError, match="not numbers"):
        Predictor(DarkIsObject(gain=float("nan")), CPU).predict(discs(), Framing(32))


def test_precision_that_is_named_is_taken():
    assert uses_bf16("bf16", CPU)
    assert not uses_bf16("fp32", CPU)
    capabilities = torch.cpu.get_capabilities()
    native = any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    assert uses_bf16("auto", CPU) == native
