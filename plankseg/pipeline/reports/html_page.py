"""Build self-contained HTML pages with tables; all text is escaped."""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from plankseg.files import atomic_write

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #1e1e1e; }
table { border-collapse: collapse; margin: 1rem 0; } th, td { padding: .3rem .8rem; border-bottom: 1px solid #ccc; }
th { text-align: left; } td { text-align: right; } td.text { text-align: left; } img { max-width: 100%; }
"""


def page_head(title: str, *, style: str = "") -> str:
    """The beginning of a page."""
    head = '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    return f"{head}<title>{escape(title)}</title><style>{STYLE}{style}</style>"


def write_page(path: Path, parts: Iterable[str]) -> None:
    """Write a page atomically: a reader sees the old one or the new one."""
    atomic_write(path, "\n".join(parts).encode(), sole_writer=True)


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table: numbers to the right, text to the left, None as an empty cell."""
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    body = "".join("<tr>" + "".join(_cell(value) for value in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _cell(value: object) -> str:
    if value is None:
        return "<td></td>"
    if isinstance(value, bool):
        return f"<td>{'yes' if value else 'no'}</td>"
    return f'<td class="{"text" if isinstance(value, str) else "number"}">{escape(str(value))}</td>'
