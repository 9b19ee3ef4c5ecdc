"""Values of Label Studio's JSON in messages."""

LONGEST = 80


def shortened(value: object) -> str:
    """A value as text of at most 80 characters."""
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
