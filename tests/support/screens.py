"""What a person would see of a page or a table of the Prefect UI, and what in it is not for people."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from html.parser import HTMLParser
from pathlib import Path

LONG_ID = re.compile(r"\b(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{13,}\b")
RAW_FLOAT = re.compile(r"(?<![\d.])\d+\.\d{5,}(?![\d.])")
LINK_TARGET = re.compile(r"\]\([^)]*\)")


class _Words(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden += tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("script", "style")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.words.append(data)


def not_for_people(text: str) -> list[str]:
    """Ids of more than 12 characters and numbers of more than four decimals in a page or a piece of Markdown."""
    page = _Words()
    page.feed(LINK_TARGET.sub("]", text))
    return not_for_people_in(" ".join(page.words))


def not_for_people_in(shown: str) -> list[str]:
    """The same in what a browser shows, its fields included."""
    return [found[0] for pattern in (LONG_ID, RAW_FLOAT) for found in pattern.finditer(shown)]


def artifacts_of(database: Path) -> Iterator[tuple[str, str]]:
    """Key and text of every artifact that an ended Prefect server left in its database, each version."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        for key, data, description in connection.execute("select key, data, description from artifact"):
            yield str(key), f"{data} {description or ''}"
