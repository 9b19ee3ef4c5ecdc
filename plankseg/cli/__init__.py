"""The command line: `plankseg status | promote | rollback | doctor | demo | up`; flows start from the Prefect UI."""

import os
import sys

import typer
from rich.console import Console
from rich.markup import escape

from plankseg.cli.archives import copy_store, fetch, ingest
from plankseg.cli.demo import demo
from plankseg.cli.images import remove, restore
from plankseg.cli.models import promote, rollback
from plankseg.cli.servers import doctor, up, webhook_relay
from plankseg.cli.status import gif, report, show_augmentations, status
from plankseg.errors import PlanksegError

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)
READING = (status, report, show_augmentations, gif, doctor)
WRITING = (promote, rollback, remove, restore, ingest, fetch, copy_store)
SERVING = (webhook_relay, demo, up)
for command in (*READING, *WRITING, *SERVING):
    app.command()(command)


def main() -> None:
    """Run the command line; an error of ours is one clear line and exit status 1."""
    try:
        app()
    except SystemExit as ended:
        if ended.code == 0:
            sys.stdout.flush()
            sys.stderr.flush()
            # Delta's native threads sometimes abort the interpreter's shutdown after all work is done (once in some
            # twenty runs), and a script would read that as a failure.
            os._exit(0)
        raise
    except PlanksegError as error:
        message = f"[red]{type(error).__name__}[/red]: {escape(str(error))}"
        Console(stderr=True).print(message, highlight=False, soft_wrap=True)
        sys.exit(1)
