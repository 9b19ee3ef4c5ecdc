"""Epochs and side per round."""

import pytest

from plankseg.config import TrainingConfig
from plankseg.learning.schedule import RoundPlan, plan_round


@pytest.mark.parametrize(
    ("round_number", "epochs", "side_px"),
    [(0, 20, 256), (1, 20, 256), (2, 20, 256), (3, 22, 272), (4, 24, 288), (10, 36, 384)],
)
def test_published_schedule_grows_from_round_three_on(round_number, epochs, side_px):
    assert plan_round(TrainingConfig(), round_number) == RoundPlan(epochs=epochs, side_px=side_px)


def test_every_number_of_the_schedule_is_in_the_recipe():
    training = TrainingConfig(epochs=5, side_px=96, grow_from_round=1, epochs_per_round=3, side_px_per_round=32)
    assert plan_round(training, 0) == RoundPlan(epochs=5, side_px=96)
    assert plan_round(training, 2) == RoundPlan(epochs=11, side_px=160)


def test_a_round_below_zero_is_refused():
    with pytest.raises(ValueError, match="Round -1"):
        plan_round(TrainingConfig(), -1)
