"""The kind of object that the fixture `label_studio` gives to a test."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LiveLabelStudio:
    """A real Label Studio of this test run's own."""

    url: str
    token: str
    email: str
    password: str
