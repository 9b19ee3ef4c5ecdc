"""Commands that start servers, `up`, `webhook-relay` and `assist`, and `doctor`, which checks every part."""

import gc
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from plankseg import local_servers
from plankseg.cli.environment import load_tables_without_pandas
from plankseg.cli.terminal import PROJECT, Directory, console
from plankseg.config import settings

if TYPE_CHECKING:
    from plankseg.doctor import Finding  # the libraries of tables and of HTTP

USUAL_DIRECTORY = Path("demo")
"""Where `make up` and `make demo` work when nothing else is said."""


def doctor(
    directory: Annotated[
        Path | None,
        typer.Option(help="Check what `make up` serves from this working directory; unset: ./demo if it is one."),
    ] = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Read the whole store and compare it with its checksums.")
    ] = False,
) -> None:
    """Check every part, and say what to do where one is not in order."""
    load_tables_without_pandas()
    gc.disable()  # the libraries of networks make many objects, and all stay
    try:
        _examine(directory, deep=deep)
    finally:
        gc.enable()


def _examine(directory: Path | None, *, deep: bool) -> None:
    from plankseg.doctor import examine, examine_store, next_step

    if directory is None and "PREFECT_API_URL" not in os.environ and (USUAL_DIRECTORY / local_servers.PORTS).exists():
        directory = USUAL_DIRECTORY
    if directory is not None:
        served = local_servers.last_served(directory.resolve(), _bucket())
        os.environ.update(served.environment())
        settings.cache_clear()  # `_bucket` has cached the settings of the old environment
    findings = []
    for finding in (found for check in (examine, *([examine_store] if deep else [])) for found in check(settings())):
        console.print(_finding_rows(finding))
        findings.append(finding)
    elsewhere = str(settings().store) if directory is not None else ""
    console.print(next_step(findings, elsewhere), highlight=False)
    if any(finding.state == "broken" for finding in findings):
        raise typer.Exit(1)


def _finding_rows(finding: "Finding") -> Table:
    """One part: its state, what was seen, and below it the cure; long words are folded, none is cut off."""
    rows = Table.grid(padding=(0, 1))
    for width in (6, 16, None):
        rows.add_column(width=width, overflow="fold")
    rows.add_row(finding.state, finding.part, escape(finding.seen))
    if finding.cure:
        rows.add_row("", "", f"-> {escape(finding.cure)}")
    return rows


def webhook_relay(
    port: Annotated[int, typer.Option(envvar="RELAY_PORT", help="Port on this machine.")] = 8090,
    prefect_api_url: Annotated[
        str, typer.Option(envvar="PREFECT_API_URL", help="Address of the Prefect server's API.")
    ] = "http://127.0.0.1:4200/api",
) -> None:
    """Tell Prefect when a round is answered, so that `advance` starts at once, before `advance_regularly` does."""
    from plankseg.labelling.webhook.relay import serve

    serve(settings(), port=port, prefect_api_url=prefect_api_url)


def assist(
    port: Annotated[int, typer.Option(envvar="ASSISTANT_PORT", help="Port on this machine.")] = 8091,
) -> None:
    """Serve clicks in Label Studio: a click adds what is missing, an Alt-click removes what does not belong."""
    import logging

    from plankseg.labelling.assist.server import serve
    from plankseg.pipeline.annotation.assistant import assistant_of, bound_threads
    from plankseg.pipeline.annotation.connection import LABELING_CONFIG, title_of_validation

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    bound_threads()
    at = settings()
    with assistant_of(at) as assistant:
        titles = (at.project, title_of_validation(at))
        controls = LABELING_CONFIG.read_text(encoding="utf-8")
        serve(at, assistant.answer, port=port, titles=titles, labeling_config=controls)


def up(
    directory: Directory = USUAL_DIRECTORY,
    prefect_port: Annotated[int, typer.Option(envvar="PREFECT_PORT", help="Port of the Prefect UI.")] = 4200,
    label_studio_port: Annotated[int, typer.Option(envvar="LABEL_STUDIO_PORT", help="Port of Label Studio.")] = 8080,
    relay_port: Annotated[int, typer.Option(envvar="RELAY_PORT", help="Port of the webhook relay.")] = 8090,
    assistant_port: Annotated[int, typer.Option(envvar="ASSISTANT_PORT", help="Port of the assistant.")] = 8091,
) -> None:
    """Serve both web pages, Prefect and Label Studio, and all that they need, until Ctrl-C.

    `make up` calls this. The store is the directory's own, or the bucket that PLANKSEG_STORE names.
    """
    bucket = _bucket()
    if bucket is not None:
        from plankseg.storage.store import Store

        Store.exists(bucket)  # raises, before anything starts, where the bucket or its server is not there
    server_settings = local_servers.ServerSettings(
        directory.resolve(), prefect_port, label_studio_port, relay_port, assistant_port, bucket
    )
    local_servers.require_free(prefect_port, setting="PREFECT_PORT")
    local_servers.require_free(label_studio_port, setting="LABEL_STUDIO_PORT")
    local_servers.require_free(relay_port, setting="RELAY_PORT")
    local_servers.require_free(assistant_port, setting="ASSISTANT_PORT")
    os.umask(local_servers.PRIVATE_UMASK)
    with local_servers.holding(server_settings.directory):
        local_servers.ensure_credentials(server_settings.directory)
        local_servers.remember_ports(server_settings)
        logs = server_settings.directory / "logs"
        console.print(f"Starting all servers; what they say goes to {logs}", soft_wrap=True, highlight=False)
        sys.stdout.flush()
        honcho = str(Path(sys.executable).parent / "honcho")
        os.chdir(local_servers.ROOT)
        options = {
            "--env": os.devnull,  # not a .env of the folder
            "--app-root": str(local_servers.ROOT),
            "--procfile": "deployments/Procfile",
        }
        command = [honcho, "start", "--no-prefix", *(part for option in options.items() for part in option)]
        environment = server_settings.environment()
        if console.is_terminal:
            environment[local_servers.UP_AT_TERMINAL] = str(console.width)
        title = os.environ.get("PLANKSEG_PROJECT", PROJECT)  # a new one, where the old project was deleted
        os.execve(honcho, command, environment | {"PLANKSEG_PROJECT": title})  # noqa: S606


def _bucket() -> str | None:
    """The store's address where PLANKSEG_STORE names a bucket; a folder is always the working directory's own."""
    location = settings().store
    return location if "://" in location else None
