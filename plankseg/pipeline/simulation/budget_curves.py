"""Curves of several methods over a growing budget, as one picture: means, with a band of their standard error."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

COLOURS = ("#1b6ca8", "#d1495b", "#2e933c", "#edae49", "#7b5ea7", "#00798c", "#8d6a5f", "#5d5d5d", "#c06c84", "#355c7d")


@dataclass(frozen=True)
class Curve:
    """One method: a row of values for each repetition, at the budgets of `x`, which may differ between repetitions."""

    x: Sequence[Sequence[float | int]]
    y: Sequence[Sequence[float]]


@dataclass(frozen=True)
class Panel:
    """One plot, with the curves of the methods by their names."""

    title: str
    x_label: str
    curves: Mapping[str, Curve]


def budget_curves(panels: Sequence[Panel], *, dots_per_inch: int = 110) -> bytes:
    """A PNG with the panels beside each other and one legend."""
    figure = Figure(figsize=(5.2 * len(panels), 4.2), dpi=dots_per_inch, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, panel in zip(axes, panels, strict=True):
        for index, (name, curve) in enumerate(panel.curves.items()):
            colour, style = COLOURS[index % len(COLOURS)], "-" if index < len(COLOURS) else "--"
            x, y = np.mean(curve.x, axis=0), np.asarray(curve.y, float)
            axis.plot(x, y.mean(axis=0), style, color=colour, linewidth=1.8, marker="o", markersize=3, label=name)
            if len(y) > 1:
                error = y.std(axis=0, ddof=1) / np.sqrt(len(y))
                axis.fill_between(x, y.mean(axis=0) - error, y.mean(axis=0) + error, color=colour, alpha=0.12, lw=0)
        axis.set_title(panel.title, fontsize=10, loc="left")
        axis.set_xlabel(panel.x_label, fontsize=9)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.tick_params(labelsize=8)
        axis.grid(axis="y", linewidth=0.4)
        axis.spines[["top", "right"]].set_visible(False)
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=5, fontsize=8, frameon=False)
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()
