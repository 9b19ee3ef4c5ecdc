"""Commands that show: `status`, `report`, `show-augmentations` and `gif`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from plankseg.cli.terminal import USUAL_MODEL, console, existing_store
from plankseg.config import Settings, settings
from plankseg.errors import SettingsError

if TYPE_CHECKING:  # each command loads what it needs: tables and pictures take longer than many a command
    from plankseg.pipeline.reports.status import Status


def status(as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for scripts.")] = False) -> None:
    """Show images, models, rounds and what is due next."""
    current = status_of(settings())
    if as_json:
        print(current.model_dump_json(indent=2))
        return
    from plankseg.cli.status_tables import show

    show(current)


def status_of(settings: Settings) -> "Status":
    """Status of the store of the settings. Raises SettingsError if there is no store."""
    from plankseg.pipeline.models.recipes import recipe_in_force
    from plankseg.pipeline.reports.status import read_status

    store = existing_store(settings)
    return read_status(store, recipe_in_force(store).rounds)


def report(path: Annotated[Path, typer.Argument(help="Where the page is written.")] = Path("report.html")) -> None:
    """Write models, rounds and the images of every round into one HTML page that needs no other file."""
    from plankseg.pipeline.reports.store_report import write_report

    write_report(existing_store(settings()), path)
    console.print(f"Written: {path}", highlight=False, soft_wrap=True)


def validation_page(
    path: Annotated[Path, typer.Argument(help="Where the page is written.")] = Path("validation.html"),
    model: Annotated[
        str | None,
        typer.Option(help=f"The beginning of a model's id; {USUAL_MODEL}"),
    ] = None,
) -> None:
    """Show the validation images from worst to best, with the person's, the model's and the automatic mask."""
    from plankseg.pipeline.models.registry import model_for
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
    from plankseg.imaging.pictures.overlay import encode_rgb
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
    image: Annotated[
        str, typer.Argument(help="The image's path, the beginning of its id, or its name inside a tar or zip.")
    ],
    path: Annotated[Path, typer.Argument(help="Where the GIF is written.")] = Path("image.gif"),
    model: Annotated[
        str | None,
        typer.Option(help=f"The beginning of a model's id; {USUAL_MODEL}"),
    ] = None,
) -> None:
    """Show how an image's mask is made: the image, each view that the model looks at, the mask, the object alone."""
    from plankseg.pipeline.archive.image_paths import image_named
    from plankseg.pipeline.models.registry import model_for

    store = existing_store(settings())
    image_id, chosen = image_named(store, image), model_for(store, model)

    from plankseg.pipeline.reports.mask_gallery import gif_of  # torch, which takes seconds

    path.write_bytes(gif_of(store, chosen, image_id, settings()))
    console.print(f"Written: {path}", highlight=False, soft_wrap=True)
