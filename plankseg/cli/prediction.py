"""Commands `predict`, `export`, `audit` and `export-model`: masks of a folder, masks and models that go elsewhere."""

from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from plankseg.cli.terminal import USUAL_MODEL, console, existing_store
from plankseg.config import AuditConfig, settings
from plankseg.errors import SettingsError


def predict(
    images: Annotated[
        str, typer.Argument(help="Folder, pattern, tar, zip, IFCB bin, image, CSV or s3://bucket/prefix.")
    ],
    out: Annotated[
        Path, typer.Option(help="Folder for the masks: <path of the image>.png, and tables of measurements.")
    ],
    model: Annotated[
        str | None,
        typer.Option(help=f"Exported folder, .onnx file, or a model of the store; {USUAL_MODEL}"),
    ] = None,
    store: Annotated[str | None, typer.Option(help="Folder or s3://bucket/prefix of the store with the model.")] = None,
    views: Annotated[
        str,
        typer.Option(
            help="Masks are the mean over several views of an image: recipe (five) or dihedral (eight); none: faster, "
            "less exact."
        ),
    ] = "recipe",
    backend: Annotated[
        str, typer.Option(help="What computes the network: auto, torch, folded, compiled or openvino, also with -bf16.")
    ] = "auto",
    overlays: Annotated[bool, typer.Option("--overlays", help="Pictures with the masks' outlines, too.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace masks that are there.")] = False,
) -> None:
    """Write the mask of every image into a folder, with measurements. It needs no server; run again, it goes on."""
    from plankseg.archives.open_container import open_container

    open_container(images)  # says what is wrong with the path; loading and reading the model takes seconds

    from plankseg.pipeline.prediction.terminal_predict import PredictArguments, predict_at_terminal

    arguments = PredictArguments(
        out=out, model=model, store=store, views=views, backend=backend, overlays=overlays, overwrite=overwrite
    )
    predict_at_terminal(console, settings(), images, arguments)


def export(
    form: Annotated[
        str, typer.Argument(metavar="FORMAT", help="png, pairs, coco, imagej, geojson, label-studio, ifcb, zooprocess.")
    ],
    target: Annotated[Path, typer.Argument(help="The file, or for png and pairs the folder, that is written.")],
    masks: Annotated[
        Path | None, typer.Option(help="Folder that predict wrote; unset: the masks of the store.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help=f"The model whose masks of the store are written; {USUAL_MODEL}"),
    ] = None,
    only: Annotated[
        str, typer.Option(help="all, people (what a person answered) or model (of all other images).")
    ] = "all",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Write over what is there.")] = False,
) -> None:
    """Write masks for other programs: a person's where a person answered, else the model's."""
    from plankseg.pipeline.exports.terminal_export import ExportArguments, export_at_terminal

    arguments = ExportArguments(form=form, target=target, masks=masks, model=model, only=only, overwrite=overwrite)
    export_at_terminal(console, None if masks is not None else existing_store(settings()), arguments)


def audit(
    masks: Annotated[int, typer.Option(help="How many masks a person checks.")] = AuditConfig().masks,
    usable_dice: Annotated[
        float, typer.Option(help="A mask is good enough from this Dice to the person's on.")
    ] = AuditConfig().usable_dice,
    seed: Annotated[int, typer.Option(help="Another one gives another sample.")] = 0,
    model: Annotated[
        str | None,
        typer.Option(help=f"Whose masks; {USUAL_MODEL}"),
    ] = None,
) -> None:
    """Let a person check a random sample of all masks in Label Studio, and state how good all are."""
    from plankseg.pipeline.audit.terminal_audit import audit_at_terminal

    try:
        config = AuditConfig(masks=masks, usable_dice=usable_dice, seed=seed)
    except ValidationError as error:
        raise SettingsError(f"The audit cannot be made: {error}") from error
    audit_at_terminal(console, existing_store(settings()), settings(), config, model)


def export_model(
    folder: Annotated[Path, typer.Argument(help="Folder for the model's files: weights, facts, ONNX, a card to read.")],
    model: Annotated[
        str | None,
        typer.Option(help=f"A round, the beginning of an id, a name in a comparison; {USUAL_MODEL}"),
    ] = None,
    onnx: Annotated[bool, typer.Option("--onnx/--no-onnx", help="Write model.onnx too, for other programs.")] = True,
) -> None:
    """Write a model as plain files, for `plankseg predict --model` on any machine, and for other programs."""
    from plankseg.errors import BackendError, StoreError
    from plankseg.pipeline.models.backend_choice import choose_archive_backend, recorded_choices
    from plankseg.pipeline.models.exported_model import example_images, model_of_store, with_graph, write_model
    from plankseg.pipeline.models.recipes import recipe_of
    from plankseg.pipeline.models.registry import find_model, model_for

    here = existing_store(settings())
    row = model_for(here) if model is None else find_model(here, model)
    if recipe_of(row).inference.backend == "auto" and not recorded_choices(here, row):
        with console.status("Finding the fastest way to compute it, which goes with the model ..."):
            try:
                choose_archive_backend(here, row, here.catalogue.matching(), device=settings().device)
            except (BackendError, StoreError) as error:
                console.print(
                    f"No backend is recorded with the model, so `predict` will try which is fastest: {error}",
                    highlight=False,
                )
    exported = model_of_store(here, row)
    if onnx:
        with console.status("Writing the ONNX graph and comparing it ..."):
            exported = with_graph(exported, example_images(here))
    for path in write_model(folder.expanduser().resolve(), exported):
        console.print(f"Written: {path}", highlight=False, soft_wrap=True)
