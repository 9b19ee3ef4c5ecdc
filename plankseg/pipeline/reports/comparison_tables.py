"""Tables of a comparison: validation and test Dice with bounds, other measures, and the spread over seeds."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from plankseg.pipeline.models.standings import Standing, recorded_verdict, standings_of
from plankseg.pipeline.training.comparison import Comparison, Result, over_seeds

MEASURES = {"iou": "IoU", "boundary_f": "outline F", "thin_part_recall": "thin parts", "area_error": "area error"}


def table_of(comparison: Comparison) -> list[dict[str, object]]:
    """One row a run: the finished ones by falling validation Dice, then the failed ones with their reason."""
    rows = [_row(rank, result, comparison) for rank, result in enumerate(comparison.results, start=1)]
    blank: dict[str, object] = dict.fromkeys(rows[0], "")
    return rows + [blank | {"run": key, "model": f"failed: {why}"} for key, why in comparison.failures.items()]


def rivals_table(comparison: Comparison) -> list[dict[str, object]]:
    """The best run and the conventional methods on the same images; empty where no method was judged."""
    metrics = comparison.best.metrics
    lines = standings_of(metrics, "selection", model=comparison.best.run.key)
    on_test = {line.name: line for line in standings_of(metrics, "test", model=comparison.best.run.key)}
    if recorded_verdict(metrics) is None:
        return []
    return [
        {"masks by": line.name, "images": line.images, "validation Dice": f"{line.dice:.3f}"}
        | {"test Dice": f"{on_test[line.name].dice:.3f}" if line.name in on_test else ""}
        | _spread(line)
        for line in lines
    ]


def _spread(line: Standing | None) -> dict[str, object]:
    """How the weaker images fare; empty cells where the images were not recorded one by one."""
    off_outline = line.dice_off_outline if line else None
    return {
        "off edge": "" if off_outline is None else f"{off_outline:.3f}",
        "9 of 10 above": f"{line.tenth_percentile:.3f}" if line else "",
        "below 0.8": f"{100 * line.below_08:.0f} %" if line else "",
    }


def seeds_table(comparison: Comparison) -> list[dict[str, object]]:
    """One row for all seeds of the same run, where there are several: mean and range."""
    return [
        {
            "run": group.name,
            "seeds": len(group.dice),
            "validation Dice": f"{np.mean(group.dice):.3f}",
            "lowest to highest": f"{min(group.dice):.3f} to {max(group.dice):.3f}",
            "test Dice": f"{np.mean(group.test_dice):.3f}" if group.test_dice else "",
        }
        for group in over_seeds(comparison)
    ]


def _row(rank: int, result: Result, comparison: Comparison) -> dict[str, object]:
    behind = comparison.behind_the_best(result)
    test = result.mean("test", "dice")
    return {
        "place": rank,
        "run": result.run.key,
        "validation Dice": _bounded(result.mean("selection", "dice")),
        "to the best": f"{behind.mean:+.3f} [{behind.low:+.3f}, {behind.high:+.3f}]" if behind else "",
        "test Dice": _bounded(test) if test else "",
        **_spread(next(iter(standings_of(result.metrics, "selection", model=result.run.key)), None)),
        **{name: _mean(result.mean("selection", measure), measure) for measure, name in MEASURES.items()},
        "best epoch": f"{result.metrics['best_epoch']} of {result.model.epochs}",
        "minutes": f"{result.metrics['seconds'] / 60:.1f}",
        "model": result.model.model_id[:8],
    }


def _bounded(mean: Mapping[str, Any] | None) -> str:
    assert mean is not None, "every model is measured where choices are made"
    return f"{mean['mean']:.3f} [{mean['low']:.3f}, {mean['high']:.3f}]"


def _mean(mean: Mapping[str, Any] | None, measure: str) -> str:
    if mean is None or mean["mean"] is None:
        return ""
    return f"{100 * mean['mean']:+.1f} %" if measure == "area_error" else f"{mean['mean']:.3f}"
