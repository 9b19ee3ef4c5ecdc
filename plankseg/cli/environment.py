"""Checks before a command runs: open streams, a locale for all file names, a working directory that exists."""

import os
import sys
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
