"""Shared by all commands: the console, and the store of the settings."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from plankseg.config import Settings
from plankseg.errors import SettingsError
from plankseg.storage.store import Store

console = Console()

PROJECT = "plankseg"  # title of the Label Studio project on servers that we start ourselves
Directory = Annotated[Path, typer.Option(help="Working directory: store, servers' data, log-in, logs.")]


def existing_store(settings: Settings) -> Store:
    """The store that the settings name. Raises SettingsError if there is none: a command must not make one."""
    location = settings.store_location
    if not Store.exists(location):
        raise SettingsError(f"There is no store at {location}; set PLANKSEG_STORE or run `make demo`.")
    return Store.open(location)
