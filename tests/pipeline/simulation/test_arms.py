"""What arms change in a recipe."""

from plankseg.config import Recipe, SimulationConfig, TrainingConfig
from plankseg.learning.schedule import plan_round
from plankseg.pipeline.simulation.arms import ARMS, equal_epochs


def test_growing_and_constant_trainings_see_as_many_pixels() -> None:
    shared = Recipe(training=TrainingConfig(side_px=64, epochs=3, epochs_per_round=0, side_px_per_round=0))
    config = SimulationConfig(rounds=8)

    def pixels(arm: str) -> int:
        training = ARMS[arm].recipe(shared, config, 0).training  # type: ignore[index]
        plans = [plan_round(training, number) for number in range(1, config.rounds + 1)]
        return sum(plan.epochs * plan.side_px**2 for plan in plans)

    assert abs(pixels("constant") / pixels("growing") - 1) < 0.1
    assert pixels("growing") > 2 * pixels("random")
    constant = ARMS["constant"].recipe(Recipe(), config, 0).training
    assert plan_round(constant, 1) == plan_round(constant, 8), "also where the shared recipe grows"


def test_a_training_that_does_not_grow_keeps_its_epochs() -> None:
    assert equal_epochs(TrainingConfig(epochs=5, epochs_per_round=0, side_px_per_round=0), 8) == 5
