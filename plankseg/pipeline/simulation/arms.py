"""Arms of a simulation: what each changes in the recipe that all of them share."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from plankseg.config import ArmName, Recipe, SimulationConfig, TrainingConfig
from plankseg.learning.schedule import plan_round

Scoring = Literal["model", "wrong inverse", "true error"]
"""Where scores come from: the model's views; views of which one is undone wrongly; or the truth, as nobody has it."""


@dataclass(frozen=True)
class Arm:
    """What differs from the shared recipe: settings of the query and of the training, and where scores come from."""

    words: str
    query: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    scoring: Scoring = "model"
    computes_like: Mapping[str, Any] | None = None
    """Settings of a training that grows: a round gets the epochs that see as many pixels as its rounds on average."""

    def recipe(self, shared: Recipe, config: SimulationConfig, seed: int) -> Recipe:
        """The recipe of this arm with a seed."""
        rounds = {"batch_size": config.batch_size, "power_rounds": config.rounds, "seed": seed}
        query = type(shared.query).model_validate({**shared.query.model_dump(), **self.query, **rounds})
        training = type(shared.training).model_validate({**shared.training.model_dump(), **self.training, "seed": seed})
        if self.computes_like is not None:
            growing = training.model_copy(update=dict(self.computes_like))
            training = training.model_copy(
                update={"epochs": equal_epochs(growing, config.rounds), "epochs_per_round": 0, "side_px_per_round": 0}
            )
        return shared.model_copy(update={"query": query, "training": training})


def equal_epochs(growing: TrainingConfig, rounds: int) -> int:
    """Epochs of a training of constant side that in so many rounds sees as many pixels as one that grows."""
    plans = [plan_round(growing, number) for number in range(1, rounds + 1)]
    return round(sum(plan.epochs * (plan.side_px / growing.side_px) ** 2 for plan in plans) / rounds)


GROWTH = {"grow_from_round": 3, "epochs_per_round": 1, "side_px_per_round": 16}

ARMS: Mapping[ArmName, Arm] = {
    "random": Arm("drawn at random", {"selector": "random"}),
    "stratified": Arm("drawn at random, evenly over the taxa", {"selector": "stratified"}),
    "published": Arm("the best of 50 random batches by variance of the views", {"selector": "stochastic_batches"}),
    "published-controls": Arm(
        "published, but two of a round's images are drawn at random",
        {"selector": "stochastic_batches", "random_controls": 2},
    ),
    "partition": Arm(
        "the best part of one random permutation, as in the paper",
        {"selector": "stochastic_batches", "mode": "partition", "batches": 10_000},
    ),
    "top-k": Arm("the most uncertain images of the whole pool", {"selector": "top_k"}),
    "power": Arm("more probable the more uncertain, sharper from round to round", {"selector": "power"}),
    "stratified-power": Arm("power, two thirds spread over the taxa", {"selector": "stratified_power"}),
    "typical-first": Arm("the most typical images in round 1, then as stratified-power", {"selector": "typical_first"}),
    "core-set": Arm("unlike each other and unlike what was answered", {"selector": "core_set"}),
    "entropy": Arm("power by entropy of the mean", {"selector": "power", "measure": "entropy"}),
    "jsd": Arm("power by divergence of the views", {"selector": "power", "measure": "jsd"}),
    "dice": Arm("power by disagreement of the views' masks", {"selector": "power", "measure": "dice"}),
    "band": Arm("power by variance around the outline", {"selector": "power", "region": "band"}),
    "outline-entropy": Arm(
        "power by entropy around the outline", {"selector": "power", "measure": "entropy", "region": "band"}
    ),
    "outline-batches": Arm(
        "the best of 50 random batches by entropy around the outline",
        {"selector": "stochastic_batches", "measure": "entropy", "region": "band"},
    ),
    "outline-stratified": Arm(
        "power by entropy around the outline, two thirds spread over the taxa",
        {"selector": "stratified_power", "measure": "entropy", "region": "band"},
    ),
    "dihedral": Arm("power by variance of eight views", {"selector": "power", "views": "dihedral"}),
    "conventional": Arm("power by distance to the automatic mask", {"selector": "power", "measure": "conventional"}),
    "weight-1": Arm("random, corrections weigh 1", {"selector": "random"}, {"correction_weight": 1.0}),
    "share-half": Arm("random, half of the draws are corrections", {"selector": "random"}, {"correction_share": 0.5}),
    "growing": Arm(
        "random, epochs and side grow from round 3",
        {"selector": "random"},
        GROWTH,
    ),
    "constant": Arm(
        "random, as many pixels seen in all rounds as by growing, but always the same epochs and side",
        {"selector": "random"},
        computes_like=GROWTH,
    ),
    "wrong-inverse": Arm(
        "published, but a turned view is turned back the wrong way",
        {"selector": "stochastic_batches"},
        {},
        "wrong inverse",
    ),
    "oracle": Arm("the images whose masks are most wrong, which nobody knows", {"selector": "top_k"}, {}, "true error"),
}
