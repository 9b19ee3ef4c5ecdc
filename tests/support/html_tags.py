"""A page of HTML as tags and text, for tests of what a report shows."""

from html.parser import HTMLParser
from pathlib import Path


class Tags(HTMLParser):
    """Every tag with its attributes, and all text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    @classmethod
    def of(cls, path: Path) -> "Tags":
        """Those of a file."""
        tags = cls()
        tags.feed(path.read_text(encoding="utf-8"))
        return tags

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += f" {data}"
