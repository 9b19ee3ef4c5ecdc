"""Shared by all commands: the console, the store of the settings, and the option that names it."""

import inspect
import os
from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from plankseg.cli.environment import load_tables_without_pandas
from plankseg.config import Settings, settings
from plankseg.errors import SettingsError

if TYPE_CHECKING:
    from plankseg.storage.store import Store  # the libraries of tables, which --help and a wrong argument do without

console = Console()

USUAL_MODEL = "unset: the one that the flow segment takes (the final one or that in use)."
PROJECT = "plankseg"  # title of the Label Studio project on servers that we start ourselves
Directory = Annotated[Path, typer.Option(help="Working directory: store, servers' data, log-in, logs.")]

KINDS = {
    "bool": "",
    "str": "TEXT",
    "list[str]": "TEXT",
    "int": "NUMBER",
    "float": "NUMBER",
    "path": "PATH",
    "list[Path]": "PATH",
}
"""What the help calls a kind of value, by what Typer calls it; a switch takes none."""

StoreOption = Annotated[
    str | None,
    typer.Option("--store", metavar="PLACE", help="Folder or s3://bucket/prefix of the store; also PLANKSEG_STORE."),
]


def with_store(command: Callable[..., None]) -> Callable[..., None]:
    """The command with an option `--store` as its last, which stands above PLANKSEG_STORE and the file .env."""

    @wraps(command)
    def run(*, store: str | None = None, **arguments: Any) -> None:
        if store is not None:
            name_store(store)
        command(**arguments)

    signature = inspect.signature(command)
    option = inspect.Parameter("store", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=StoreOption)
    run.__signature__ = signature.replace(parameters=[*signature.parameters.values(), option])  # type: ignore[attr-defined]
    run.__annotations__ = {**command.__annotations__, "store": StoreOption}
    return run


def name_store(location: str) -> None:
    """Take this store for the command that runs, whatever PLANKSEG_STORE and the file .env say."""
    os.environ["PLANKSEG_STORE"] = location
    settings.cache_clear()


class PlainHelp(TyperGroup):
    """Commands whose help calls kinds of values by words, not by the types of Python."""

    def get_params(self, ctx: Any) -> Any:
        """The options that stand before a command."""
        return _in_words(super().get_params(ctx), ctx)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name, or None."""
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            _in_words(command.get_params(ctx), ctx)
        return command


def _in_words(parameters: list[Any], ctx: object) -> list[Any]:
    for parameter in parameters:
        if not hasattr(parameter, "display_type_rich"):  # Typer's own, and not of every release
            continue
        shown = str(parameter.display_type_rich(ctx))
        kind = shown.strip("<>").removesuffix(" range")
        vars(parameter)["display_type_rich"] = partial(_word, KINDS.get(kind, shown))  # in the place of its method
    return parameters


def _word(word: str, ctx: object) -> str:
    del ctx  # Typer gives it
    return word


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
