"""Escape text for the Prefect UI, which renders table cells and descriptions as Markdown.

A taxon, a file name or the reason of an error is shown as it is, never as a link, a picture or a heading.
"""

import re

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


def escape_cell(value: object) -> object:
    """A table cell: text escaped, numbers and None as they are."""
    return escape_line(value) if isinstance(value, str) else value


def _escape(found: re.Match[str]) -> str:
    return f"\\{found[0]}"
