"""Table and plot of the person's effort per round, for the Prefect UI and the status."""

import base64
import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from plankseg.pipeline.loop.effort import Anchoring, Effort, RoundEffort
from plankseg.pipeline.reports.status import CHANGED_WORDS

if TYPE_CHECKING:
    from matplotlib.figure import Figure  # a plotting library, which takes a second to load

COLUMNS = (
    "round",
    "asked",
    "strongly changed",
    "agreement",
    "px, median",
    "px, sum",
    "clicks",
    "outlines",
    "s per image",
    "s saved",
)
"""Short, so that all of them fit into Prefect's page and a terminal; `EFFORT_WORDS` stands below."""

PANELS: tuple[tuple[str, Callable[[Effort], float | None]], ...] = (
    ("strongly changed, share", lambda effort: effort.redrawn / effort.images if effort.images else None),
    ("agreement (Dice)", lambda effort: effort.dice),
    ("seconds per image", lambda effort: effort.seconds_median),
)


HIDDEN, AT_RANDOM = "without pre-mask", "picked at random"

EFFORT_WORDS = (
    "Agreement: mean Dice of the person's mask and the pre-mask; 1: the same. Px: number of pixels that the person "
    "changed, median of the images and sum. s: seconds; s saved: on these images together, against the time per image "
    "of round 1."
)

USUAL = "with pre-mask"
ONLY_WITH = {"asked": ("", USUAL), "clicks": ("", "0"), "outlines": ("", "0")}
"""Columns that are left out of a table in which every row has one of these: it must fit a terminal and a page."""


def effort_table(efforts: Sequence[RoundEffort]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headings and rows of the table as text."""
    rows = effort_rows(efforts)
    shown = [
        column
        for column, heading in enumerate(COLUMNS)
        if heading not in ONLY_WITH or any(row[column] not in ONLY_WITH[heading] for row in rows)
    ]
    return tuple(COLUMNS[column] for column in shown), [tuple(row[column] for column in shown) for row in rows]


def effort_rows(efforts: Sequence[RoundEffort]) -> list[tuple[str, ...]]:
    """The table's rows as text: those with a pre-mask, and under them those without one and those drawn at random.

    Corrected masks made with clicks and without are also compared, where a round has some of each.
    """
    rows = []
    for round_effort in efforts:
        groups = (
            (USUAL, round_effort.shown),
            ("- by clicks", round_effort.clicked),
            ("- by brush", round_effort.brushed),
            (HIDDEN, round_effort.blind),
            (AT_RANDOM, round_effort.control),
        )
        for name, effort in groups:
            if effort is not None:
                saved = round_effort.seconds_saved if effort is round_effort.shown else None
                rows.append((str(round_effort.round), name, *_figures(effort), "" if saved is None else f"{saved:.0f}"))
    return rows


def _figures(effort: Effort) -> tuple[str, ...]:
    return (
        f"{effort.redrawn}/{effort.images}",
        "" if effort.dice is None else f"{effort.dice:.3f}",
        "" if effort.changed_px_median is None else f"{effort.changed_px_median:,.0f}",
        f"{effort.changed_px_sum:,}",
        "" if effort.clicks is None else str(effort.clicks),
        "" if effort.outlines is None else str(effort.outlines),
        "" if effort.seconds_median is None else f"{effort.seconds_median:.1f}",
    )


def effort_markdown(efforts: Sequence[RoundEffort], anchoring: Anchoring | None) -> str:
    """Table, plot and anchoring as Markdown."""
    headings, rows = effort_table(efforts)
    lines = ["| " + " | ".join(headings) + " |", "|" + " --- |" * len(headings)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    lines += ["", f"{CHANGED_WORDS} {EFFORT_WORDS}"]
    if anchoring:
        lines += ["", describe_anchoring(anchoring)]
    return "\n".join(
        [*lines, "", f"![effort per round](data:image/png;base64,{base64.b64encode(plot(efforts)).decode()})"]
    )


def describe_anchoring(anchoring: Anchoring) -> str:
    """How much a visible pre-mask pulls answers towards it, as a sentence."""
    return (
        f"Does the pre-mask lead the person? Where it was shown ({anchoring.shown} images), answers agree with it by "
        f"{anchoring.difference:+.3f} Dice more (95 % confidence interval {anchoring.low:+.3f} to "
        f"{anchoring.high:+.3f}) than where it was hidden ({anchoring.blind} images)."
    )


def plot(efforts: Sequence[RoundEffort]) -> bytes:
    """PNG of redrawn share, Dice and seconds over the rounds."""
    out = io.BytesIO()
    effort_figure(efforts).savefig(out, format="png")
    return out.getvalue()


def effort_figure(efforts: Sequence[RoundEffort]) -> "Figure":
    """Redrawn share, Dice and seconds over the rounds, as a figure of matplotlib."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 2.8), dpi=90, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (title, value) in zip(figure.subplots(1, len(PANELS)), PANELS, strict=True):
        groups = (
            (USUAL, "o-", "shown"),
            ("by clicks", "v-.", "clicked"),
            ("by brush", "P-.", "brushed"),
            (HIDDEN, "s--", "blind"),
            (AT_RANDOM, "^:", "control"),
        )
        highest = 0.0 if title == "seconds per image" else 1.0
        for name, style, group in groups:
            found = [(round_effort.round, getattr(round_effort, group)) for round_effort in efforts]
            points = [(n, y) for n, effort in found if effort is not None and (y := value(effort)) is not None]
            if points:
                axes.plot(*zip(*points, strict=True), style, label=name)
                highest = max(highest, *(y for _, y in points))
        axes.set(title=title, xlabel="round", xticks=[round_effort.round for round_effort in efforts])
        axes.set_ylim(0, 1.05 * highest or 1.0)  # else rounds of nearly the same seconds are cut off at the top
        axes.grid(alpha=0.3)
    if any(round_effort.blind or round_effort.control or round_effort.clicked for round_effort in efforts):
        figure.axes[0].legend(fontsize=8)
    return figure
