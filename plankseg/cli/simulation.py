"""Command `simulate`: ways of choosing images compared by a simulated person, on images whose masks are known."""

from pathlib import Path
from typing import Annotated

import typer

from plankseg.cli.terminal import console
from plankseg.config import settings


def simulate(
    work: Annotated[Path, typer.Argument(help="Folder for stores, records and result; a run that was killed goes on.")],
    source: Annotated[str, typer.Option(help="Clean images that model 0 is trained on.")] = "",
    source_masks: Annotated[str | None, typer.Option(help="Their masks; unset: made automatically.")] = None,
    pool: Annotated[str, typer.Option(help="Images to choose from.")] = "",
    pool_masks: Annotated[str, typer.Option(help="Their true masks, used as the answers of a person.")] = "",
    test: Annotated[str, typer.Option(help="Images to measure with.")] = "",
    test_masks: Annotated[str, typer.Option(help="Their true masks.")] = "",
    arms: Annotated[
        str | None, typer.Option(help="Ways of choosing, with commas; 'all'; unset: the main ones.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=20, help="How often each is repeated.")] = 3,
    rounds: Annotated[int, typer.Option(min=1, max=50, help="Rounds of each.")] = 5,
    batch_size: Annotated[int, typer.Option(min=1, help="Images per round.")] = 20,
    side: Annotated[int, typer.Option(help="Side of the squares that are trained on, in pixels.")] = 64,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs (passes over the images) of each training.")] = 3,
    draws: Annotated[int, typer.Option(min=2, help="Images per epoch.")] = 512,
    side_by_side: Annotated[
        int, typer.Option(min=1, help="How many runs are computed at once, each on a core of its own.")
    ] = 1,
    again: Annotated[
        Path | None, typer.Option(help="JSON of a simulation: run one way of it again and compare.")
    ] = None,
    arm: Annotated[str, typer.Option(help="With --again: which way (arm).")] = "random",
    seed: Annotated[int, typer.Option(min=0, help="With --again: which repetition (seed).")] = 0,
) -> None:
    """Compare ways of choosing images, without servers; a simulated person answers. Writes a page and a JSON file."""
    from plankseg.pipeline.reports.terminal_simulate import Asked, repeat_at_terminal, simulate_at_terminal

    if again is not None:
        repeat_at_terminal(console, settings(), work, again, arm, seed)
        return
    folders = {"source": source, "pool": pool, "pool_masks": pool_masks, "test": test, "test_masks": test_masks}
    if missing := [f"--{name.replace('_', '-')}" for name, given in folders.items() if not given]:
        raise typer.BadParameter(f"{', '.join(missing)} must be given: folders of images, and of their true masks.")
    asked = Asked(
        data={**folders, "source_masks": source_masks},
        arms=None if arms is None else tuple(arms.split(",")),
        config={"seeds": seeds, "rounds": rounds, "batch_size": batch_size},
        training={"side_px": side, "epochs": epochs, "draws_per_epoch": draws},
        side_by_side=side_by_side,
    )
    simulate_at_terminal(console, settings(), work, asked)
