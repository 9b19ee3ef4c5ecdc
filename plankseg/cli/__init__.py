"""The command line: what shows, what writes, what serves; flows start from the Prefect UI."""

import importlib.metadata
import os
import sys
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from plankseg.cli.archives import copy_store, fetch, ingest
from plankseg.cli.demo import demo
from plankseg.cli.ecotaxa import fetch_ecotaxa, push_ecotaxa
from plankseg.cli.environment import prepare_streams, require_usable_environment
from plankseg.cli.images import remove, restore
from plankseg.cli.models import promote, rollback
from plankseg.cli.prediction import audit, export, export_model, predict
from plankseg.cli.servers import assist, doctor, up, webhook_relay
from plankseg.cli.simulation import simulate
from plankseg.cli.status import gif, report, show_augmentations, status, validation_page
from plankseg.cli.terminal import PlainHelp, StoreOption, name_store, with_store
from plankseg.errors import PlanksegError, SettingsError

app = typer.Typer(cls=PlainHelp, no_args_is_help=True, pretty_exceptions_enable=False)
READING = (status, report, validation_page, show_augmentations, gif, doctor)
WRITING = (export, audit, export_model, promote, rollback, remove, restore, ingest)
SERVING = (webhook_relay, assist)
OF_THEIR_OWN_STORE = (predict, fetch, fetch_ecotaxa, push_ecotaxa, copy_store, demo, up, simulate)
for command in (*READING, *WRITING, *SERVING):
    app.command()(with_store(command))
for other in OF_THEIR_OWN_STORE:
    app.command()(other)


def _show_version(is_wanted: bool) -> None:
    if is_wanted:
        print(f"plankseg {importlib.metadata.version('plankseg')}")
        raise typer.Exit


@app.callback()
def plankseg(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001  (its callback answers)
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    store: StoreOption = None,
) -> None:
    """Train on clean images, correct masks of noisy ones, and make the masks of all images.

    Commands work on the store that --store, PLANKSEG_STORE or the file .env names, else on ./plankseg-store.
    `make up` serves the web pages from which flows are started.
    """
    if store is not None:
        takes_it = {command.__name__.replace("_", "-") for command in (*READING, *WRITING, *SERVING, predict)}
        if context.invoked_subcommand not in takes_it:
            raise SettingsError(
                f"{context.invoked_subcommand} takes no --store: it makes or names its store itself, see "
                f"`plankseg {context.invoked_subcommand} --help`."
            )
        name_store(store)


def main() -> None:
    """Run the command line; an error of ours is one clear line and exit status 1."""
    prepare_streams()
    try:
        require_usable_environment()
        _run()
    except PlanksegError as error:
        message = f"[red]Error:[/red] {escape(str(error))}"
        Console(stderr=True).print(message, highlight=False, soft_wrap=True)
        sys.exit(1)


def _run() -> None:
    try:
        app()
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):
            _end_unread()
        if ended.code == 0:
            try:
                sys.stdout.flush()
            except BrokenPipeError:
                _end_unread()
            sys.stderr.flush()
            # Delta's native threads sometimes abort the interpreter's shutdown after all work is done (once in some
            # twenty runs), and a script would read that as a failure.
            os._exit(0)
        raise


def _end_unread() -> NoReturn:
    """End after the reader of our output went away, as in `plankseg status | head -1`."""
    text = "The program that reads this command's output ended first; what it had not read is lost."
    print(text, file=sys.stderr, flush=True)
    os._exit(1)  # Python would try once more to write what is left
