"""The result of a comparison: its runs by falling validation Dice, and failed runs with their reason."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from plankseg.errors import TrainingError
from plankseg.learning.metrics import PairedDifference, paired_bootstrap
from plankseg.pipeline.training.grid import Run, short_names
from plankseg.storage.store import Store
from plankseg.storage.tables.models import ModelRow


@dataclass(frozen=True)
class Result:
    """A finished run and its candidate."""

    run: Run
    model: ModelRow

    @cached_property
    def metrics(self) -> Mapping[str, Any]:
        """What was measured, see `plankseg.pipeline.training.train_and_register.recorded_metrics`."""
        return dict(json.loads(self.model.metrics))

    @property
    def dice(self) -> float:
        """Mean Dice over the images that choices are made on."""
        return float(self.metrics["dice"])

    def mean(self, half: str, measure: str) -> Mapping[str, Any] | None:
        """Mean, bounds and number of images of a measure on a half; None where there is no such half."""
        measures = self.metrics["measures"].get(half)
        return measures["means"][measure] if measures else None

    def dice_by_image(self) -> Mapping[str, float]:
        """Dice of each image that choices are made on."""
        return {image_id: values[0] for image_id, values in self.metrics["measures"]["selection"]["images"].items()}


@dataclass(frozen=True)
class Comparison:
    """An experiment: what finished, best first, and why the others did not."""

    name: str
    results: tuple[Result, ...]
    failures: Mapping[str, str]

    @property
    def best(self) -> Result:
        """The finished run with the highest validation Dice."""
        return self.results[0]

    @cached_property
    def short(self) -> Mapping[str, str]:
        """The runs' names without what they all share."""
        return short_names(tuple(sorted([*(result.run.key for result in self.results), *self.failures])))

    def behind_the_best(self, result: Result) -> PairedDifference | None:
        """How far a run is behind the best on the same images; None for the best itself."""
        if result is self.best:
            return None
        ours, theirs = result.dice_by_image(), self.best.dice_by_image()
        ids = sorted(theirs)
        return paired_bootstrap([ours[i] for i in ids], [theirs[i] for i in ids], rng=np.random.default_rng(0))


@dataclass(frozen=True)
class OverSeeds:
    """Runs that differ in their seed alone: Dice of each, on the images of choices and on those of the test."""

    name: str
    dice: tuple[float, ...]
    test_dice: tuple[float, ...]


def comparison_of(
    store: Store, name: str, runs: Sequence[Run], *, finished: Mapping[str, str], failures: Mapping[str, str]
) -> Comparison:
    """Gather the candidates of the runs; `finished` names each one's fingerprint, by key.

    Raises TrainingError when no run finished.
    """
    if not finished:
        reasons = "; ".join(f"{key}: {reason}" for key, reason in failures.items())
        raise TrainingError(f"None of the {len(runs)} runs of experiment {name!r} finished. {reasons}"[:4000])
    results = []
    for run in runs:
        if run.key in finished:
            row = store.models.candidate(finished[run.key])
            assert row is not None, "a finished run is recorded"
            results.append(Result(run, row))
    ranked = sorted(results, key=lambda result: (-result.dice, result.run.key))
    return Comparison(name, tuple(ranked), dict(failures))


def over_seeds(comparison: Comparison) -> list[OverSeeds]:
    """Where runs were repeated with several seeds: what they have in common, the best mean first; else nothing."""
    groups: dict[str, list[Result]] = {}
    for result in comparison.results:
        groups.setdefault(result.run.key.rpartition(" seed ")[0], []).append(result)
    if len(groups) == len(comparison.results):
        return []
    names = short_names(tuple(groups))
    groups_over_seeds = [
        OverSeeds(
            names[key],
            tuple(result.dice for result in group),
            tuple(test["mean"] for result in group if (test := result.mean("test", "dice"))),
        )
        for key, group in groups.items()
    ]
    return sorted(groups_over_seeds, key=lambda one: -float(np.mean(one.dice)))
