"""Commands `promote` and `rollback`: a person chooses the active model."""

from typing import Annotated

import typer

from plankseg.cli.terminal import console, existing_store
from plankseg.config import settings


def promote(
    model: Annotated[
        list[str], typer.Argument(help="A round ('3' or 'model 3'), the beginning of an id, or a name in a comparison.")
    ],
    reason: Annotated[str, typer.Option(help="Why; shown in the status.")] = "a person's choice",
) -> None:
    """Put a model into use, also one that was found worse or one of a comparison; later rounds go on from it."""
    from plankseg.pipeline.models.registry import activate

    chosen, decided = activate(existing_store(settings()), " ".join(model), reason=reason)
    result = "is in use" if decided else "is in use already, nothing was done"
    console.print(f"Model {chosen.round} ({chosen.model_id[:8]}) {result}.", highlight=False)


def rollback(
    reason: Annotated[str, typer.Option(help="Why; shown in the status.")] = "a person's choice",
) -> None:
    """Take the model in use out of use and return to the one before it."""
    from plankseg.pipeline.models.registry import find_model
    from plankseg.pipeline.models.registry import rollback as decide

    store = existing_store(settings())
    decided = decide(store, by="person", reason=reason)
    taken, back = (find_model(store, str(model_id)) for model_id in (decided.previous, decided.model_id))
    console.print(
        f"Model {taken.round} ({taken.model_id[:8]}) is taken out of use, "
        f"model {back.round} ({back.model_id[:8]}) is in use again.",
        highlight=False,
    )
