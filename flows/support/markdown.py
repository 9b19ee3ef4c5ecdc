"""Escape text for the Prefect UI, which renders table cells and descriptions as Markdown.

A taxon, a file name or the reason of an error is shown as it is, never as a link, a picture or a heading.
"""

import math
import re

ID_LENGTH = 8
LONG_ID = re.compile(r"(?<![\w./-])[0-9a-f]{64}(?![\w./-])")
"""A SHA-256 of ours, that is no part of a file name."""

LARGEST_WITH_DECIMALS = 1000
MARKUP = re.compile(r"[\\`*_\[\]<>&|~#!$^]")
AUTOLINK = re.compile(r"(?<=\w):(?=/)|(?<=www)\.|@", re.IGNORECASE)
BLOCK = re.compile(r"^([-+=])(?=[\s=+-]|$)|^(\d{1,9})([.)])(?=\s|$)")


def escape_line(text: str) -> str:
    """One line of text, so that Markdown shows it unchanged; line breaks become spaces."""
    escaped = AUTOLINK.sub(_escape, MARKUP.sub(_escape, " ".join(text.split())))
    return BLOCK.sub(lambda found: f"\\{found[1]}" if found[1] else f"{found[2]}\\{found[3]}", escaped)


def escape_text(text: str) -> str:
    """Several lines of text, each as it is."""
    return "\n".join(escape_line(line) for line in text.splitlines())


def shown_cell(value: object) -> object:
    """A table cell: text escaped, ids cut to 8 characters, numbers with four digits, the rest as it is."""
    if isinstance(value, str):
        return escape_line(LONG_ID.sub(lambda found: found[0][:ID_LENGTH], value))
    if isinstance(value, float) and math.isfinite(value):
        return round(value) if abs(value) >= LARGEST_WITH_DECIMALS else float(f"{value:.4g}")
    return value


def shown_heading(name: str) -> str:
    """The heading of a column, from the name of a field."""
    return name.replace("_", " ")


def _escape(found: re.Match[str]) -> str:
    return f"\\{found[0]}"
