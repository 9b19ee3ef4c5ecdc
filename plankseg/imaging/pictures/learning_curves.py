"""Learning curves as one small picture, the best ones in the colours of their outlines."""

import io
from collections.abc import Mapping, Sequence

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from plankseg.imaging.pictures.overlay import Colour

_OTHERS = "#b9b9b9"
_INK = "#1e1e1e"


def learning_curves(
    panels: Mapping[str, Mapping[str, Sequence[float]]],
    *,
    colours: Mapping[str, Colour],
    labels: Mapping[str, str],
    dots_per_inch: int = 110,
) -> bytes:
    """A PNG with one panel for each of `panels` (title to curve by name to values, epoch 1 first).

    Curves in `colours` are drawn last, in their colour and with their label; the others are grey, for comparison.
    """
    figure = Figure(figsize=(5.2 * len(panels), 3.6), dpi=dots_per_inch, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, (title, curves) in zip(axes, panels.items(), strict=True):
        for name, values in sorted(curves.items(), key=lambda curve: curve[0] in colours):
            best = name in colours
            axis.plot(
                range(1, len(values) + 1),
                values,
                color=[channel / 255 for channel in colours[name]] if best else _OTHERS,
                linewidth=2.0 if best else 1.0,
                marker="o" if len(values) == 1 else None,
                label=labels[name] if best else None,
            )
        axis.set_title(title, fontsize=10, color=_INK, loc="left")
        axis.set_xlabel("epoch", fontsize=9)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.tick_params(labelsize=8)
        axis.grid(axis="y", linewidth=0.4)
        axis.spines[["top", "right"]].set_visible(False)
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(
        handles, names, loc="outside lower center", ncols=min(3, max(1, len(names))), fontsize=8, frameon=False
    )
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()
