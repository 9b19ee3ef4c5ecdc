"""Before a command runs: open streams, a locale for all file names, a working directory that exists, fewer imports."""

import importlib
import os
import sys
from importlib.abc import MetaPathFinder
from pathlib import Path

from plankseg.errors import SettingsError

STANDARD_STREAMS = (0, 1, 2)


def prepare_streams() -> None:
    """Give closed standard streams a place, and show characters that the terminal does not have as escapes."""
    for number in STANDARD_STREAMS:
        try:
            os.fstat(number)
        except OSError:  # else the next file that is opened would get this number, and native code prints to it
            os.open(os.devnull, os.O_RDWR)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123  for the life of the process
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def require_usable_environment() -> None:
    """Raise SettingsError where a command could not show its result, or find files by their names."""
    if sys.stdout is None:
        raise SettingsError(
            "Standard output is closed, so nothing can be shown. Redirect it, for example to /dev/null, and run this "
            "again."
        )
    encoding = sys.getfilesystemencoding()
    if encoding.lower().replace("-", "") != "utf8":
        raise SettingsError(
            f"File names are {encoding} here, so many cannot be read. Unset PYTHONUTF8 and PYTHONCOERCECLOCALE, or set "
            "LC_ALL=C.UTF-8, and run this again."
        )
    try:
        Path.cwd()
    except OSError as error:
        raise SettingsError(
            f"The working directory does not exist any more ({error.strerror}). Change to another one and run this "
            "again."
        ) from error


def load_tables_without_pandas() -> None:
    """Load pyarrow's tables without pandas, which it would load with them though no command here uses it.

    That takes longer than all else that `plankseg status` does. Who converts a table to pandas later loads it then.
    """
    if "pandas" in sys.modules or "pyarrow.dataset" in sys.modules:
        return
    hide = _HidePandas()
    sys.meta_path.insert(0, hide)
    try:
        importlib.import_module("pyarrow.dataset")
    finally:
        sys.meta_path.remove(hide)


class _HidePandas(MetaPathFinder):
    """While it is asked, an import of pandas fails as if it were not installed."""

    def find_spec(self, name: str, *_: object) -> None:
        """Raise ModuleNotFoundError for pandas, and leave all else to others."""
        if name == "pandas":
            raise ModuleNotFoundError("No module named 'pandas'", name=name)
