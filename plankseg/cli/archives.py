"""Commands for archives and whole stores: ingest, fetch, copy-store."""

from pathlib import Path
from typing import Annotated

import typer

from plankseg.cli.terminal import console
from plankseg.config import settings


def ingest(
    place: Annotated[str, typer.Argument(help="Folder, tar, zip, IFCB bin or s3://bucket/prefix with the images.")],
    role: Annotated[str, typer.Option(help="source (clean), pool (to choose from) or validation.")],
    layout: Annotated[str, typer.Option(help="auto finds it: class_folders, ecotaxa, table or pairs.")] = "auto",
    masks: Annotated[
        Path | None,
        typer.Option(help="Folder or .zip of masks by the images' names, .json of COCO or Label Studio, .zip of ROIs."),
    ] = None,
    annotator: Annotated[
        str | None, typer.Option(help="Who made these masks: they count as that person's answers.")
    ] = None,
    table: Annotated[Path | None, typer.Option(help="Table of the images that lies elsewhere.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Name of the data set.")] = None,
    automatic_masks: Annotated[bool, typer.Option("--automatic-masks", help="For a pool: make masks too.")] = False,
    outline: Annotated[
        str,
        typer.Option(
            help="For a source: level, or 'local contrast', better on blurred scans. A pool always has the latter."
        ),
    ] = "level",
) -> None:
    """Register images with a progress bar, as the flow does; doing it again adds only what is new."""
    from plankseg.pipeline.ingest.terminal_ingest import IngestArguments, ingest_at_terminal

    arguments = IngestArguments(
        role=role,
        layout=layout,
        masks=masks,
        annotator=annotator,
        table=table,
        dataset=dataset,
        automatic_masks=automatic_masks,
        outline=outline,
    )
    ingest_at_terminal(console, settings(), place, arguments)


def fetch(
    name: Annotated[str, typer.Argument(help="zooscannet or pelgas.")],
    to: Annotated[Path, typer.Option(help="Folder for the file.")] = Path(),
    url: Annotated[str | None, typer.Option(help="Address of the file, if another one is wanted.")] = None,
) -> None:
    """Download a published data set, or continue a download that broke off."""
    from plankseg.archives.download import fetch as download
    from plankseg.archives.download import published
    from plankseg.progress_bars import downloading

    found = published(name)
    console.print(f"{found.title}, licence {found.licence}, {found.page}", highlight=False, soft_wrap=True)
    with downloading(console, name) as progress:
        path = download(name, to, url=url, on_progress=progress)
    console.print(f"{path} is whole. Next: plankseg ingest {path} --role pool", highlight=False, soft_wrap=True)


def copy_store(
    source: Annotated[str, typer.Argument(help="Folder or s3://bucket/prefix of the store.")],
    target: Annotated[str, typer.Argument(help="Where its copy goes: another folder or address.")],
) -> None:
    """Copy a whole store and check the copy; run again, it copies only what is missing."""
    from plankseg.storage.copy import copy_store as copy

    with console.status("") as line:
        copied = copy(source, target, on_progress=lambda n, of: line.update(f"{n} of {of} files"))
    console.print(f"Copied {copied.files} files, {copied.bytes / 1e6:.1f} MB; {copied.there} were there already.")
