"""Commands `remove` and `restore`: a person takes images out of the catalogue, and back in."""

from typing import Annotated

import typer

from plankseg.cli.terminal import console, existing_store
from plankseg.config import settings

Images = Annotated[list[str], typer.Argument(help="Paths of the images, ids, or the beginnings of ids.")]


def remove(
    images: Images,
    reason: Annotated[str, typer.Option(help="Why; kept in the store.")] = "a person's choice",
) -> None:
    """Take images out of use: they stay in the store; nothing chooses, learns from, measures with or masks them."""
    _decide(images, "removed", reason)


def restore(
    images: Images,
    reason: Annotated[str, typer.Option(help="Why; kept in the store.")] = "a person's choice",
) -> None:
    """Take removed images back into use."""
    _decide(images, "included", reason)


def _decide(images: list[str], kind: str, reason: str) -> None:
    from plankseg.pipeline.archive.image_paths import image_named
    from plankseg.storage.tables.exclusions import ExclusionRow

    store = existing_store(settings())
    ids = [image_named(store, name) for name in images]
    changed = store.exclusions.record(
        ExclusionRow(image_id=image_id, kind=kind, reason=reason)  # type: ignore[arg-type]  # checked by the row
        for image_id in ids
    )
    console.print(f"{changed} of {len(set(ids))} images {kind}; nothing is deleted.", highlight=False)
