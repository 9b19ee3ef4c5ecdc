"""What came of a comparison? Its runs by falling validation Dice, and those that failed with their reason."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from plankseg.errors import TrainingError
from plankseg.rounds.grid import Run
from plankseg.storage.models import ModelRow
from plankseg.storage.store import Store


@dataclass(frozen=True)
class Result:
    """A finished run and its candidate."""

    run: Run
    model: ModelRow

    @cached_property
    def metrics(self) -> Mapping[str, Any]:
        """What was measured, see `plankseg.rounds.fitting.recorded_metrics`."""
        return dict(json.loads(self.model.metrics))

    @property
    def dice(self) -> float:
        """Mean Dice over the images that choices are made on."""
        return float(self.metrics["dice"])


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


def table_of(comparison: Comparison) -> list[dict[str, object]]:
    """The table of an experiment, one row a run: the finished ones by falling validation Dice, then the failed ones."""
    rows = [_row(place, result) for place, result in enumerate(comparison.results, start=1)]
    blank: dict[str, object] = dict.fromkeys(rows[0], "")
    return rows + [blank | {"run": key, "model": f"failed: {why}"} for key, why in comparison.failures.items()]


def _row(place: int, result: Result) -> dict[str, object]:
    metrics = result.metrics
    low, high = metrics["dice_interval"]
    return {
        "place": place,
        "run": result.run.key,
        "validation Dice": f"{result.dice:.3f}",
        "95 %": f"{low:.3f} to {high:.3f}",
        "best epoch": f"{metrics['best_epoch']} of {result.model.epochs}",
        "minutes": f"{metrics['seconds'] / 60:.1f}",
        "model": result.model.model_id[:12],
    }
