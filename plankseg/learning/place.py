"""Which of several processes that train one network is this one?"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """The `rank`-th of `ranks` processes (from 0), which takes its share of a step in so many `parts`."""

    rank: int = 0
    ranks: int = 1
    parts: int = 1


ALONE = Place()
