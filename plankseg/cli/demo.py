"""The command `demo`: the whole loop in one command, with servers of its own."""

import json
import os
import subprocess
import sys
import time
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from plankseg import local_servers, moto_server
from plankseg.cli.status import status_of
from plankseg.cli.terminal import PROJECT, Directory, console
from plankseg.config import Settings
from plankseg.errors import ServerError, SettingsError
from plankseg.files import atomic_write


def demo(
    directory: Directory = Path("demo"),
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of annotation.")] = 2,
    source: Annotated[Path | None, typer.Option(help="Folder of clean images.")] = None,
    pool: Annotated[Path | None, typer.Option(help="Folder of images to choose from.")] = None,
    pool_masks: Annotated[Path | None, typer.Option(help="Masks of the pool, for a simulated person.")] = None,
    validation: Annotated[Path | None, typer.Option(help="Folder of images to judge models on.")] = None,
    validation_masks: Annotated[Path | None, typer.Option(help="Their masks, by the images' names.")] = None,
    store: Annotated[str, typer.Option(help="folder, or s3: a bucket on an S3 server in memory.")] = "folder",
    clicks: Annotated[bool, typer.Option("--clicks", help="The simulated person repairs masks by clicks.")] = False,
) -> None:
    """Run the whole loop on synthetic images, or on real folders up to where a person must correct masks."""
    if (source is None) != (pool is None):
        raise SettingsError("SOURCE and POOL belong together: give both folders, or neither.")
    if (validation is None) != (validation_masks is None) or (validation and not pool):
        raise SettingsError("VALIDATION and VALIDATION_MASKS belong together, and to a POOL: give all, or neither.")
    folders = {
        "source": source,
        "pool": pool,
        "pool-masks": pool_masks,
        "validation": validation,
        "validation-masks": validation_masks,
    }
    given = {name: path.expanduser().resolve() for name, path in folders.items() if path}
    for name, path in given.items():
        if not path.is_dir():
            raise SettingsError(f"{name.upper().replace('-', '_')}={path} is not a folder.")
    if store not in {"folder", "s3"}:
        raise SettingsError(f"STORE={store} is not known; give folder or s3.")
    os.umask(local_servers.PRIVATE_UMASK)
    in_bucket = store == "s3"
    told = {name: str(path) for name, path in given.items()} | ({"clicks": "yes"} if clicks else {})
    directory = directory_for(directory.resolve(), told, in_memory=in_bucket)
    server_settings = local_servers.ServerSettings(directory, local_servers.free_port(), local_servers.free_port())
    options = [part for name, path in given.items() for part in (f"--{name}", str(path))]
    options += ["--clicks"] if clicks else []
    options += ["--synthetic", str(directory / "images"), "--report", str(directory / "report.html")]
    with (
        local_servers.holding(directory),
        moto_server.serve(server_settings) if in_bucket else nullcontext() as bucket,
        local_servers.start_prefect(server_settings) as prefect,
        local_servers.start_label_studio(server_settings) as label_studio,
    ):
        console.print(
            f"Prefect UI {server_settings.prefect_url}   Label Studio {server_settings.label_studio_url}   "
            f"log-ins in {from_here(directory / 'credentials.env')}",
            soft_wrap=True,
        )
        location = moto_server.STORE if in_bucket else str(server_settings.store)
        if in_bucket:
            console.print(f"S3 server {os.environ['AWS_ENDPOINT_URL']}   store {location}, in memory: gone at the end")
        prefect.wait()
        command = [sys.executable, "-m", "flows.demo", "--rounds", str(rounds), *options]
        environment = server_settings.environment() | {"PLANKSEG_PROJECT": PROJECT, "PLANKSEG_STORE": location}
        with subprocess.Popen(
            command, env=environment, cwd=local_servers.ROOT, preexec_fn=local_servers.die_with_parent
        ) as flow:
            try:
                _watch(flow, [prefect, label_studio, *([bucket] if bucket else [])])
            finally:
                local_servers.end(flow)
        if flow.returncode:
            raise ServerError(f"The demo's flows ended with exit status {flow.returncode}; see the lines above.")
        _print_results(server_settings, location)


def directory_for(directory: Path, folders: dict[str, str], *, in_memory: bool = False) -> Path:
    """A working directory for one pair of folders: the results of another pair are moved aside, not mixed in.

    A run with a store `in_memory` always starts anew, because Label Studio would remember images that are gone.
    """
    note = directory / "demo.json"
    folders = folders | ({"store": "in memory"} if in_memory else {})
    before = json.loads(note.read_text()) if note.exists() else {}
    was_in_memory = "store" in before and (directory / "label-studio").exists()
    if was_in_memory or ((directory / "store").exists() and (not note.exists() or before != folders)):
        aside = directory.with_name(f"{directory.name}-{datetime.now(UTC):%Y%m%d-%H%M%S}")
        with local_servers.holding(directory):
            directory.rename(aside)
        console.print(f"{directory} held a run on other folders: moved to {aside}.", highlight=False, soft_wrap=True)
    local_servers.make_private(directory)
    atomic_write(note, json.dumps(folders).encode(), sole_writer=True)
    return directory


def from_here(path: Path) -> Path:
    """The path from the current folder where it lies below it, else whole."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _watch(flow: "subprocess.Popen[bytes]", servers: list[local_servers.Server]) -> None:
    """Wait for the flows. Raises ServerError at once if a server ends before them."""
    while flow.poll() is None:
        for server in servers:
            code = server.process.poll()
            if code is not None:
                raise ServerError(f"{server.name} ended with exit status {code}. The end of its log:\n{server.tail()}")
        time.sleep(0.2)


def _print_results(server_settings: local_servers.ServerSettings, location: str) -> None:
    """Print the rounds, the change of the Dice, and where to look or click."""
    from plankseg.cli.status_tables import show

    status = status_of(Settings(store=location))
    show(status)
    before, after = status.models[0].validation_dice, status.models[-1].validation_dice
    if len(status.models) > 1 and before is not None and after is not None:
        better = "above" if after > before else "not above"
        console.print(
            f"Dice of model {status.models[-1].round} on the {status.models[-1].validation_set}: {after:.3f}, "
            f"{better} model 0's {before:.3f}."
        )
    directory = from_here(server_settings.directory)
    console.print(f"Gallery and report: {directory}/report.html", soft_wrap=True)
    if status.rounds and status.rounds[-1].answered < status.rounds[-1].proposed:
        console.print(
            f"Round {status.rounds[-1].round} waits for a person: run `make up DIR={directory}`, "
            f"open Label Studio there, project '{PROJECT}', tab 'Round {status.rounds[-1].round}'."
        )
    else:
        console.print(f"Both web pages are closed now; `make up DIR={directory}` serves them with all of this.")
