"""Text of people and files is shown as it is in the Prefect UI, which renders Markdown."""

import pytest

from flows.support.markdown import escape_line, escape_text, shown_cell, shown_heading

pytestmark = pytest.mark.slow  # loads Prefect


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("[click](http://evil.invalid)", "\\[click\\](http\\://evil.invalid)"),
        ("![x](data:image/png;base64,AAAA)", "\\!\\[x\\](data:image/png;base64,AAAA)"),
        ("<img src=x onerror=alert(1)>", "\\<img src=x onerror=alert(1)\\>"),
        ("# Copepoda", "\\# Copepoda"),
        ("a_b_c *d* `e` ~~f~~", "a\\_b\\_c \\*d\\* \\`e\\` \\~\\~f\\~\\~"),
        ("www.evil.invalid", "www\\.evil.invalid"),
        ("anna@lab.org", "anna\\@lab.org"),
        ("- one", "\\- one"),
        ("12. twelve", "12\\. twelve"),
        ("---", "\\---"),
        ("&lt;b&gt;", "\\&lt;b\\&gt;"),
        ("  two\nlines ", "two lines"),
        ("Calanus finmarchicus, 0.812", "Calanus finmarchicus, 0.812"),
        ("-0.003", "-0.003"),
    ],
)
def test_markup_is_escaped_and_plain_text_is_not(text: str, escaped: str) -> None:
    assert escape_line(text) == escaped


def test_several_lines_stay_lines() -> None:
    assert escape_text("one\n\n*two*") == "one\n\n\\*two\\*"


def test_numbers_and_empty_cells_stay_what_they_are() -> None:
    assert [shown_cell(value) for value in (3, 0.5, None, True)] == [3, 0.5, None, True]


def test_cells_have_short_ids_and_numbers_of_four_digits():
    sha = "6993bbd4e4dd8b73eca01802199c740fae5964a6d8c0c8ba03fc0cfffcbfe0e9"
    cells = (
        18.358616779621467,
        0.9987881773625061,
        1_234_567.5,
        float("inf"),
        sha,
        f"model {sha} of 2",
        f"a/{sha}.png",
    )
    shown = [18.36, 0.9988, 1_234_568, float("inf"), "6993bbd4", "model 6993bbd4 of 2", f"a/{sha}.png"]
    assert [shown_cell(value) for value in cells] == shown


def test_headings_are_words():
    assert [shown_heading(name) for name in ("images_per_s", "Dice")] == ["images per s", "Dice"]
