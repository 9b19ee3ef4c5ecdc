"""Commands that show: the status, one page for colleagues, pictures."""

from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Table

from plankseg.cli.terminal import console, existing_store
from plankseg.config import Settings, settings
from plankseg.errors import SettingsError
from plankseg.pipeline.models.recipes import recipe_in_force
from plankseg.pipeline.reports.effort_plot import COLUMNS, describe_anchoring, effort_rows
from plankseg.pipeline.reports.status import Status, last_decision, read_status

RARE = ("drawn", "empty", "skipped", "unusable", "quarantined")  # columns that are shown only where there is one


def status(as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for scripts.")] = False) -> None:
    """Show images, models, rounds and what is due next."""
    found = status_of(settings())
    if as_json:
        print(found.model_dump_json(indent=2))
    else:
        show(found)


def status_of(settings: Settings) -> Status:
    """What the tables of the store say. Raises SettingsError where there is no store."""
    store = existing_store(settings)
    return read_status(store, recipe_in_force(store).rounds)


def show(found: Status) -> None:
    """Print the tables of models and rounds."""
    counts = found.images
    console.print(f"Store {found.store}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"Images: {counts.source} source, {counts.pool} pool, {counts.validation} validation")
    if counts.validation:
        kept = found.validation
        console.print(
            f"Validation set: {kept.selection} masks choose, {kept.test} only test; "
            f"{kept.near_duplicates} near-duplicates kept out of pool and training"
        )
    models = Table(title="Models", title_justify="left", box=SIMPLE, padding=0, pad_edge=False)
    for heading in ("round", "model", "side", "epochs", "Dice", "test", "promoted", "why"):
        models.add_column(heading, justify="left" if heading in {"model", "why"} else "right")
    for model in found.models:
        dice = "" if model.validation_dice is None else f"{model.validation_dice:.3f}"
        promoted = "yes" if model.promoted else "no"
        models.add_row(
            str(model.round), model.id[:8], f"{model.side_px} px", str(model.epochs), dice,
            "" if model.test_dice is None else f"{model.test_dice:.3f}", promoted,
            escape(model.reason),
        )  # fmt: skip
    rounds = Table(title="Rounds", title_justify="left", box=SIMPLE, padding=0, pad_edge=False)
    rare = [name for name in RARE if any(getattr(row, name) for row in found.rounds)]
    fields = ["round", "proposed", "answered", "accepted", "corrected", *rare]
    for heading in [*fields, "redrawn", "seconds"]:
        rounds.add_column(heading, justify="right", no_wrap=True)
    for row in found.rounds:
        seconds = "" if row.seconds is None else f"{row.seconds:.0f}"
        rounds.add_row(*(str(getattr(row, name)) for name in fields), f"{row.redrawn}/{row.proposed}", seconds)
    effort = Table(title="Effort", title_justify="left", box=SIMPLE, padding=0, pad_edge=False)
    for heading in COLUMNS:
        effort.add_column(heading, justify="left" if heading == "asked" else "right")
    for cells in effort_rows(found.effort):
        effort.add_row(*cells)
    for table in (models, rounds, effort):
        if table.row_count:
            console.print(table)
    if at_work := last_decision(found):
        console.print(at_work, markup=False, highlight=False)
    if found.anchoring:
        console.print(describe_anchoring(found.anchoring), markup=False, highlight=False)
    console.print(f"Next: {found.next}")


def report(path: Annotated[Path, typer.Argument(help="Where the page is written.")] = Path("report.html")) -> None:
    """Write models, rounds and a gallery of every round into one page that needs nothing else."""
    from plankseg.pipeline.reports.round_report import write_report

    write_report(existing_store(settings()), path)
    console.print(f"Written: {path}", highlight=False, soft_wrap=True)


def show_augmentations(
    images: Annotated[list[Path] | None, typer.Argument(help="Clean image files; synthetic ones without.")] = None,
    references: Annotated[list[Path] | None, typer.Option("--reference", help="Image of the target domain.")] = None,
    from_store: Annotated[bool, typer.Option("--from-store", help="Show the store's own source and pool.")] = False,
    output: Annotated[Path, typer.Option(help="Where the PNG is written.")] = Path("augmentations.png"),
    draws: Annotated[int, typer.Option(min=1, max=32, help="Variations of each composition.")] = 8,
    side_px: Annotated[int, typer.Option("--side", min=32, max=1024, help="Side of the squares.")] = 256,
    seed: Annotated[int, typer.Option(min=0, help="Other draws.")] = 0,
) -> None:
    """Draw what each composition of augmentations makes of some images, with the masks' outlines, on one sheet."""
    from plankseg.imaging.overlay import encode_rgb
    from plankseg.pipeline.reports import augmentation_sheet as sheets

    if from_store and (images or references):
        raise SettingsError("Give image files, or --from-store, not both.")
    if from_store:
        shown = sheets.from_store(existing_store(settings()), images=draws, side_px=side_px)
    elif images:
        shown = sheets.from_files(images, references or [], side_px=side_px)
    else:
        shown = sheets.synthetic(images=draws, seed=seed, side_px=side_px)
    output.write_bytes(encode_rgb(shown.sheet(draws=draws, seed=seed)))
    console.print(f"Written: {output}", highlight=False, soft_wrap=True)
    if shown.references is None or not len(shown.references):
        console.print("'specialized' is left out: it needs images of the target domain, ingested or by --reference.")


def gif(
    image: Annotated[str, typer.Argument(help="The beginning of an image_id, or the image's name in its archive.")],
    path: Annotated[Path, typer.Argument(help="Where the GIF is written.")] = Path("image.gif"),
    model: Annotated[str | None, typer.Option(help="The beginning of a model's id; unset: final or active.")] = None,
) -> None:
    """Show how an image's mask comes about: before, every test-time view, after, the object alone."""
    from plankseg.pipeline.models.registry import model_for
    from plankseg.pipeline.reports.mask_gallery import gif_of, image_named

    store = existing_store(settings())
    path.write_bytes(gif_of(store, model_for(store, model), image_named(store, image), settings()))
    console.print(f"Written: {path}", highlight=False, soft_wrap=True)
