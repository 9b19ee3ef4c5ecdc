"""Tables of a store's status at a terminal: models, conventional masks, rounds and effort, in 80 columns."""

from collections.abc import Sequence, Set

from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Table

from plankseg.cli.terminal import console
from plankseg.pipeline.reports.effort_plot import EFFORT_WORDS, describe_anchoring, effort_table
from plankseg.pipeline.reports.standing_tables import (
    STANDING_COLUMNS,
    STANDING_WORDS,
    rival_lines,
    standing_rows,
    verdict_unless_told,
)
from plankseg.pipeline.reports.status import (
    MODEL_WORDS,
    RARE_ANSWERS,
    ROUND_HEADINGS,
    Status,
    last_decision,
    round_words,
)

STANDINGS = "Model in use and methods without a model, on the validation images"
LEGENDS = {
    "Models": MODEL_WORDS,
    "Effort": EFFORT_WORDS,
    STANDINGS: STANDING_WORDS,
}
"""What the columns of a table mean, by its title; those of the rounds depend on what answers there are."""

REASONS_SHOWN = 5


def show(status: Status) -> None:
    """Print the tables of models, rounds and effort, and what is due next."""
    counts = status.images
    console.print(f"Store {status.store}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"Images: {counts.source} source, {counts.pool} pool, {counts.validation} validation")
    if counts.validation:
        split = status.validation
        console.print(
            f"Validation images with a mask: {split.selection} decide which epoch and which model are used; on the "
            f"other {split.test} the Dice is only reported. {split.near_duplicates} images of source and pool that "
            "look nearly like one of them are never chosen nor trained on"
        )
    legends = LEGENDS | {"Rounds": round_words(status.rounds)}
    for table in (_models_table(status), _standings_table(status), _rounds_table(status), _effort_table(status)):
        if table.row_count:
            console.print(table)
            console.print(f"{legends[str(table.title)]}\n", highlight=False)
    decision, sentence = last_decision(status), verdict_unless_told(status)
    for model in status.models:
        if model.reason not in decision:
            console.print(f"Model {model.round}: {model.reason}.", markup=False, highlight=False)
    if decision:
        console.print(decision, markup=False, highlight=False)
    if sentence:
        console.print(sentence, markup=False, highlight=False)
    if status.anchoring:
        console.print(describe_anchoring(status.anchoring), markup=False, highlight=False)
    for agreement in status.two_people:
        console.print(agreement.words, markup=False, highlight=False)
    if status.not_used:
        console.print(f"Not used: {len(status.not_used)} answers or images.", highlight=False)
        for reason in status.not_used[:REASONS_SHOWN]:
            console.print(f"  {reason}", markup=False, highlight=False, soft_wrap=True)
        if len(status.not_used) > REASONS_SHOWN:
            console.print(f"  {len(status.not_used) - REASONS_SHOWN} more: see `plankseg status --json`.")
    if status.at_work_since is None:
        console.print(f"Next: {status.next}")
    else:
        since = status.at_work_since.astimezone().strftime("%A %H:%M")
        console.print(
            f"A run has been at work since {since} (Runs in the Prefect UI, or a command at a terminal). What is next"
            " is known when it has ended."
        )


def _models_table(status: Status) -> Table:
    """The models, and below them the conventional methods on the same images."""
    table = _table("Models")
    for heading in ("model", "id", "image\nside", "epochs", "Dice,\ndeciding", "Dice,\ntest", "used", "masks by"):
        table.add_column(heading, justify="left" if heading in {"id", "masks by"} else "right")
    for model in status.models:
        table.add_row(
            str(model.round),
            model.id[:8],
            f"{model.side_px} px",
            str(model.epochs),
            _dice(model.validation_dice),
            _dice(model.test_dice),
            "yes" if model.promoted else "no",
            "model in use" if model.active else "model",
        )
    for line in rival_lines(status):
        table.add_row(
            "",
            "",
            "",
            "",
            _dice(line.selection_dice),
            _dice(line.test_dice),
            "",
            escape(f"{line.name}: {line.words()}"),
        )
    return table


def _dice(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _rounds_table(status: Status) -> Table:
    table = _table("Rounds")
    rare = [
        ", ".join(f"{n} {ROUND_HEADINGS.get(name, name)}" for name in RARE_ANSWERS if (n := getattr(row, name)))
        for row in status.rounds
    ]
    for heading in ["round", "answered", "accepted", "corrected", "strongly\nchanged"]:
        table.add_column(heading, justify="right", no_wrap=True)
    if any(rare):
        table.add_column("others", justify="left")  # the one that may wrap: the table fits 80 columns
    for row, others in zip(status.rounds, rare, strict=True):
        counts = (row.round, f"{row.answered}/{row.proposed}", row.accepted, row.corrected)
        cells = [*map(str, counts), f"{row.redrawn}/{row.compared}"]
        table.add_row(*cells, *([others] if any(rare) else []))
    return table


def _effort_table(status: Status) -> Table:
    headings, rows = effort_table(status.effort)
    return _table_of("Effort", headings, rows, left={"asked"})


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", box=SIMPLE, padding=0, pad_edge=False)


def _table_of(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]], *, left: Set[str]) -> Table:
    """A table that breaks between words only: rich would also cut words off where a terminal is narrow."""
    table = _table(title)
    for heading, cells in zip(headings, zip(*rows, strict=True) if rows else [()] * len(headings), strict=True):
        longest = max(len(word) for text in (heading, *cells) for word in (text or "-").split())
        table.add_column(heading, justify="left" if heading in left else "right", min_width=longest)
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    return table


def _standings_table(status: Status) -> Table:
    """The active model beside the conventional methods."""
    return _table_of(STANDINGS, STANDING_COLUMNS, standing_rows(status), left={"half", "masks by"})
