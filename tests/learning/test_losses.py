"""Losses: right answers cost nothing, and the parts are the ones that are said."""

import pytest
import torch

from plankseg.config import TrainingConfig
from plankseg.learning.losses import loss_of

MASKS = torch.tensor([[1.0, 1.0, 0.0, 0.0]]).reshape(1, 1, 2, 2)


@pytest.mark.parametrize("name", ["tversky", "dice_bce"])
def test_a_right_answer_costs_nothing_and_a_wrong_one_much(name: str) -> None:
    loss = loss_of(TrainingConfig(loss=name))
    right = 40 * (MASKS - 0.5)
    assert float(loss(right, MASKS)) == pytest.approx(0.0, abs=1e-4)
    assert float(loss(-right, MASKS)) > 0.9


def test_tversky_weighs_what_is_too_much_and_what_is_missing() -> None:
    too_much = torch.full((1, 1, 2, 2), 40.0)
    loss = loss_of(TrainingConfig(alpha_fp=0.7, beta_fn=0.3))
    assert float(loss(too_much, MASKS)) == pytest.approx(1 - 2 / (2 + 0.7 * 2), abs=1e-4)


def test_half_dice_half_cross_entropy() -> None:
    logits = torch.zeros((1, 1, 2, 2))
    dice = 1 - 2 * 1.0 / (2.0 + 2.0)
    expected = (dice + torch.log(torch.tensor(2.0))) / 2
    assert float(loss_of(TrainingConfig(loss="dice_bce"))(logits, MASKS)) == pytest.approx(float(expected), abs=1e-3)
