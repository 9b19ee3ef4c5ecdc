"""The one normalisation."""

import numpy as np
import pytest
import torch

from plankseg.learning.network.preprocessing import batch_tensor, to_tensor

pytestmark = pytest.mark.slow


def test_one_by_one_and_as_a_batch_are_the_same():
    squares = np.random.default_rng(0).integers(256, size=(3, 32, 32)).astype(np.uint8)
    torch.testing.assert_close(
        torch.stack([to_tensor(square) for square in squares]), batch_tensor(squares), rtol=0, atol=0
    )


def test_black_and_white_become_the_published_extremes():
    squares = np.stack([np.zeros((2, 2), np.uint8), np.full((2, 2), 255, np.uint8)])
    black, white = batch_tensor(squares)[:, :, 0, 0].tolist()
    assert black == pytest.approx([-2.1179, -2.0357, -1.8044], abs=1e-4)
    assert white == pytest.approx([2.2489, 2.4286, 2.6400], abs=1e-4)
