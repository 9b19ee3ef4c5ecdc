"""Build self-contained HTML pages with tables; all text is escaped."""

import re
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from plankseg.files import atomic_write

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #1e1e1e; }
table { border-collapse: collapse; margin: 1rem 0; max-width: 100%; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid #ccc; vertical-align: top; }
th, td { text-align: right; } th.text, td.text { text-align: left; } td.text { overflow-wrap: anywhere; }
td.number { white-space: nowrap; }
img { max-width: 100%; } figure { margin: 1rem 0; } figcaption { font-size: .85rem; overflow-wrap: anywhere; }
.aside { color: #555; } .grid { display: grid; grid-template-columns: repeat(2, 1fr); gap: .8rem 1.2rem; }
.grid figure { margin: 0; }
@page { size: A4; margin: 16mm 14mm; }
@media print {
  body { font-size: 10pt; max-width: none; margin: 0; padding: 0; }
  h1, h2, h3, h2 + p { break-after: avoid; } table, tr, figure, li, section { break-inside: avoid; }
  thead { display: table-header-group; } table { font-size: 8.5pt; } th, td { padding: .15rem .3rem; }
  th { font-size: 7.5pt; }
  p { orphans: 3; widows: 3; } figcaption { font-size: 8pt; } img { max-height: 240mm; }
  * { print-color-adjust: exact; }
}
"""

NUMBER = re.compile(r"[+-]?[\d.,]+([/ ]\d+| ?(%|px|s))?")
"""Text that a table sets like a number: '0.812', '15,047', '17/20', '96 px'."""


def page_head(title: str, *, style: str = "") -> str:
    """The beginning of a page."""
    head = '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    return f"{head}<title>{escape(title)}</title><style>{STYLE}{style}</style>"


def write_page(path: Path, parts: Iterable[str]) -> None:
    """Write a page atomically: a reader sees the old one or the new one."""
    atomic_write(path, "\n".join(parts).encode(), sole_writer=True)


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table: numbers to the right, text to the left, None as an empty cell; without headings where all are empty."""
    cells = [tuple(row) for row in rows]
    columns = list(zip(*cells, strict=True)) or [()] * len(headings)
    head = "".join(
        f'<th class="{"text" if any(map(_is_text, column)) else "number"}">{escape(heading)}</th>'
        for heading, column in zip(headings, columns, strict=True)
    )
    body = "".join("<tr>" + "".join(_cell(value) for value in row) + "</tr>" for row in cells)
    top = f"<thead><tr>{head}</tr></thead>" if any(headings) else ""
    return f"<table>{top}<tbody>{body}</tbody></table>"


def figure(address: str, caption: str, *, alt: str) -> str:
    """A picture with its caption; it is never cut by the end of a printed page."""
    picture = f'<img src="{escape(address)}" alt="{escape(alt)}">'
    return f"<figure>{picture}<figcaption>{escape(caption)}</figcaption></figure>"


def _cell(value: object) -> str:
    if value is None:
        return "<td></td>"
    if isinstance(value, bool):
        return f"<td>{'yes' if value else 'no'}</td>"
    return f'<td class="{"text" if _is_text(value) else "number"}">{escape(str(value))}</td>'


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != "" and not NUMBER.fullmatch(value)
