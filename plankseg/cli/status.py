"""Commands that show: `status`, `report`, `show-augmentations` and `gif`."""

from collections.abc import Sequence, Set
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Table

from plankseg.cli.terminal import console, existing_store
from plankseg.config import Settings, settings
from plankseg.errors import SettingsError
from plankseg.pipeline.archive.image_paths import image_named
from plankseg.pipeline.models.recipes import recipe_in_force
from plankseg.pipeline.models.registry import model_for
from plankseg.pipeline.reports.effort_plot import EFFORT_WORDS, describe_anchoring, effort_table
from plankseg.pipeline.reports.standing_tables import (
    STANDING_COLUMNS,
    STANDING_WORDS,
    rival_lines,
    rival_sentence,
    standing_rows,
)
from plankseg.pipeline.reports.status import ROUND_HEADINGS, ROUND_WORDS, Status, last_decision, read_status

STANDINGS = "Model in use and conventional masks, on the validation images"
LEGENDS = {"Rounds": ROUND_WORDS, "Effort": EFFORT_WORDS, STANDINGS: STANDING_WORDS}
"""What the columns of a table mean, by its title."""

RARE = ("drawn", "empty", "skipped", "unusable", "quarantined")  # together in a column that is shown where there is one

REASONS_SHOWN = 5


def status(as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for scripts.")] = False) -> None:
    """Show images, models, rounds and what is due next."""
    current = status_of(settings())
    if as_json:
        print(current.model_dump_json(indent=2))
    else:
        show(current)


def status_of(settings: Settings) -> Status:
    """Status of the store of the settings. Raises SettingsError if there is no store."""
    store = existing_store(settings)
    return read_status(store, recipe_in_force(store).rounds)


def show(status: Status) -> None:
    """Print the tables of models, rounds and effort, and what is due next."""
    counts = status.images
    console.print(f"Store {status.store}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"Images: {counts.source} source, {counts.pool} pool, {counts.validation} validation")
    if counts.validation:
        split = status.validation
        console.print(
            f"Validation images with a mask: {split.selection} decide which model is kept, {split.test} only measure; "
            f"{split.near_duplicates} images that look nearly like one of them are kept out of pool and training"
        )
    for table in (_models_table(status), _standings_table(status), _rounds_table(status), _effort_table(status)):
        if table.row_count:
            console.print(table)
        if table.row_count and table.title in LEGENDS:
            console.print(f"{LEGENDS[str(table.title)]}\n", highlight=False)
    decision, sentence = last_decision(status), rival_sentence(status)
    for model in status.models:
        if model.reason not in decision:
            console.print(f"Model {model.round}: {model.reason}.", markup=False, highlight=False)
    if decision:
        console.print(decision, markup=False, highlight=False)
    if sentence and sentence.partition(" is ")[2].rstrip(".") not in decision:
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
    console.print(f"Next: {status.next}")


def _models_table(status: Status) -> Table:
    """The models, and below them the conventional methods on the same images."""
    table = _table("Models")
    for heading in ("round", "model", "side", "epochs", "Dice", "test Dice", "put to use", "masks by"):
        table.add_column(heading, justify="left" if heading in {"model", "masks by"} else "right")
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
        ", ".join(f"{n} {ROUND_HEADINGS.get(name, name)}" for name in RARE if (n := getattr(row, name)))
        for row in status.rounds
    ]
    fields = ["round", "proposed", "answered", "accepted", "corrected"]
    for heading in [*fields, "redrawn", "seconds"]:
        table.add_column(heading, justify="right", no_wrap=True)
    if any(rare):
        table.add_column("of these", justify="left")  # the one that may wrap: the table fits 80 columns
    for row, others in zip(status.rounds, rare, strict=True):
        seconds = "" if row.seconds is None else f"{row.seconds:.0f}"
        cells = [*(str(getattr(row, name)) for name in fields), f"{row.redrawn}/{row.proposed}", seconds]
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


def report(path: Annotated[Path, typer.Argument(help="Where the page is written.")] = Path("report.html")) -> None:
    """Write models, rounds and the images of every round into one HTML page that needs no other file."""
    from plankseg.pipeline.reports.store_report import write_report

    write_report(existing_store(settings()), path)
    console.print(f"Written: {path}", highlight=False, soft_wrap=True)


def validation_page(
    path: Annotated[Path, typer.Argument(help="Where the page is written.")] = Path("validation.html"),
    model: Annotated[
        str | None, typer.Option(help="The beginning of a model's id; unset: the final one, else the one in use.")
    ] = None,
) -> None:
    """Show the validation images from worst to best: outlines of the person, the model and the automatic mask."""
    from plankseg.pipeline.reports.validation_page import validation_images, write_validation_page

    store = existing_store(settings())
    chosen = model_for(store, model)
    images = validation_images(store, chosen, settings())
    write_validation_page(path, chosen, images)
    console.print(f"Written: {path}, {len(images)} images", highlight=False, soft_wrap=True)


def show_augmentations(
    images: Annotated[list[Path] | None, typer.Argument(help="Clean image files; unset: synthetic ones.")] = None,
    references: Annotated[
        list[Path] | None, typer.Option("--reference", help="Noisy image, like those of the pool.")
    ] = None,
    from_store: Annotated[bool, typer.Option("--from-store", help="Show the store's own source and pool.")] = False,
    output: Annotated[Path, typer.Option(help="Where the PNG is written.")] = Path("augmentations.png"),
    draws: Annotated[int, typer.Option(min=1, max=32, help="Variations of each kind.")] = 8,
    side_px: Annotated[int, typer.Option("--side", min=32, max=1024, help="Side of the squares in pixels.")] = 256,
    seed: Annotated[int, typer.Option(min=0, help="Start of chance: the same number, the same sheet.")] = 0,
) -> None:
    """Draw how training varies images: every kind of augmentation, with the masks' outlines, on one sheet."""
    from plankseg.imaging.overlay import encode_rgb
    from plankseg.pipeline.reports import augmentation_sheet as sheets

    if from_store and (images or references):
        raise SettingsError("Give image files, or --from-store, not both.")
    if from_store:
        samples = sheets.from_store(existing_store(settings()), images=draws, side_px=side_px)
    elif images:
        samples = sheets.from_files(images, references or [], side_px=side_px)
    else:
        samples = sheets.synthetic(images=draws, seed=seed, side_px=side_px)
    output.write_bytes(encode_rgb(samples.sheet(draws=draws, seed=seed)))
    console.print(f"Written: {output}", highlight=False, soft_wrap=True)
    if samples.references is None or not len(samples.references):
        console.print("'specialized' is left out: it needs noisy images, those of a pool or given by --reference.")


def gif(
    image: Annotated[str, typer.Argument(help="The image's path, the beginning of its id, or its archive's name.")],
    path: Annotated[Path, typer.Argument(help="Where the GIF is written.")] = Path("image.gif"),
    model: Annotated[
        str | None, typer.Option(help="The beginning of a model's id; unset: the final one, else the one in use.")
    ] = None,
) -> None:
    """Show how an image's mask is made: the image, each view that the model looks at, the mask, the object alone."""
    store = existing_store(settings())
    image_id, chosen = image_named(store, image), model_for(store, model)

    from plankseg.pipeline.reports.mask_gallery import gif_of  # torch, which takes seconds

    path.write_bytes(gif_of(store, chosen, image_id, settings()))
    console.print(f"Written: {path}", highlight=False, soft_wrap=True)
