"""Learning curve: Dice of each round's model on the validation images, with the lines of the conventional methods."""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from plankseg.pipeline.models.standings import HALVES, Half, Standing, standings_of
from plankseg.storage.tables.models import ModelRow

MODEL = "model"


@dataclass(frozen=True)
class CurvePoint:
    """A round's model: its mean Dice and 95 % interval; None where none was recorded."""

    round: int
    dice: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class LearningCurve:
    """The models on one half of the validation images, and the conventional methods beside the newest of them.

    Only models that were measured on the same images as the newest are on it.
    """

    half: Half
    images: int
    points: tuple[CurvePoint, ...]
    rivals: tuple[Standing, ...]


def learning_curves(models: Sequence[ModelRow]) -> list[LearningCurve]:
    """One curve for each half on which the newest model was measured; the half that only tests comes first."""
    of_rounds = [model for model in sorted(models, key=lambda model: model.round) if model.candidate is None]
    recorded = {model.round: json.loads(model.metrics) for model in of_rounds}
    halves: tuple[Half, ...] = ("test", "selection")
    curves = (_curve(recorded, half) for half in halves)
    return [curve for curve in curves if curve is not None]


def _curve(recorded: dict[int, dict[str, Any]], half: Half) -> LearningCurve | None:
    if not recorded:
        return None
    newest = recorded[max(recorded)]
    standings = standings_of(newest, half, model=MODEL)
    if not standings:
        return None
    images = _images(newest, half)
    points = tuple(
        _point(n, metrics, half) for n, metrics in recorded.items() if images and _images(metrics, half) == images
    )
    return LearningCurve(half, len(images), points, tuple(standings[1:]))


def _images(metrics: dict[str, Any], half: Half) -> frozenset[str]:
    card = metrics.get("measures", {}).get(half) or {}
    return frozenset(card.get("images", {}))


def _point(round_number: int, metrics: dict[str, Any], half: Half) -> CurvePoint:
    (own, *_) = standings_of(metrics, half, model=MODEL)
    test = metrics.get("test") or {}
    low, high = (test if half == "test" else metrics).get("dice_interval") or (None, None)
    return CurvePoint(round_number, own.dice, low, high)


def curve_svg(curves: Sequence[LearningCurve]) -> bytes:
    """The curves side by side as SVG: models as points with 95 % intervals, conventional methods as dashed lines."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(curves), sharey=True, squeeze=False)[0]
    for axes, curve in zip(panels, curves, strict=True):
        rounds, dices = zip(*((point.round, point.dice) for point in curve.points), strict=True)
        spread = [
            [0.0 if point.low is None else max(0.0, point.dice - point.low) for point in curve.points],
            [0.0 if point.high is None else max(0.0, point.high - point.dice) for point in curve.points],
        ]
        # Dice of images are recorded rounded, intervals are not: of one image a bound can lie beyond the mean
        axes.errorbar(rounds, dices, yerr=spread, fmt="o-", capsize=3, color="#0060a0", label="model")
        for rival, style in zip(curve.rivals, ("--", ":", "-."), strict=False):
            name = f"{rival.name} ({rival.images} of {curve.images} images)"
            axes.axhline(rival.dice, linestyle=style, color="#a04000", label=name)
        axes.set(
            title=f"{HALVES[curve.half]} half, {curve.images} images", xlabel="model of round", xticks=list(rounds)
        )
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.2))
    panels[0].set_ylabel("Dice to the person's mask")
    panels[0].set_ylim(top=1.0)
    return svg(figure)


def svg(figure: Any) -> bytes:
    """A figure of matplotlib as SVG without a date, the same figure giving the same bytes; it prints at any size."""
    from matplotlib import rc_context

    out = io.BytesIO()
    with rc_context({"svg.hashsalt": "plankseg"}):
        figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()
