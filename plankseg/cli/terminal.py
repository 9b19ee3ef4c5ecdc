"""Shared by all commands: the console, the store of the settings, and the option that names it."""

import inspect
import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from plankseg.cli.environment import load_tables_without_pandas
from plankseg.config import Settings, settings
from plankseg.errors import SettingsError

if TYPE_CHECKING:
    from plankseg.storage.store import Store  # the libraries of tables, which --help and a wrong argument do without

console = Console()

PROJECT = "plankseg"  # title of the Label Studio project on servers that we start ourselves
Directory = Annotated[Path, typer.Option(help="Working directory: store, servers' data, log-in, logs.")]

StoreOption = Annotated[
    str | None,
    typer.Option("--store", metavar="PLACE", help="Folder or s3://bucket/prefix of the store; also PLANKSEG_STORE."),
]


def with_store(command: Callable[..., None]) -> Callable[..., None]:
    """The command with an option `--store` as its last, which stands above PLANKSEG_STORE and the file .env."""

    @wraps(command)
    def run(*, store: str | None = None, **arguments: Any) -> None:
        if store is not None:
            os.environ["PLANKSEG_STORE"] = store
            settings.cache_clear()
        command(**arguments)

    signature = inspect.signature(command)
    option = inspect.Parameter("store", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=StoreOption)
    run.__signature__ = signature.replace(parameters=[*signature.parameters.values(), option])  # type: ignore[attr-defined]
    run.__annotations__ = {**command.__annotations__, "store": StoreOption}
    return run


def existing_store(settings: Settings) -> "Store":
    """The store that the settings name. Raises SettingsError if there is none: a command must not make one."""
    load_tables_without_pandas()
    from plankseg.storage.store import Store

    location = settings.store_location
    if not Store.exists(location):
        raise SettingsError(
            f"There is no store at {location}. Name one by --store or PLANKSEG_STORE, or run `make demo`."
        )
    return Store.open(location)
