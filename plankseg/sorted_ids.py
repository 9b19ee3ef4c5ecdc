"""Sorted image ids as numbers, 48 bytes each, for a million images: search, set difference, slices.

A Python string of 64 digits takes 113 bytes, and sorting a million of them takes seconds. Here an id is a 256-bit
number in four words; the numbers sort as their texts do. The words stay where they were read, and only their order is
kept: to touch fresh memory is what takes longest of a draw from a million.
"""

import binascii
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import SupportsIndex, overload

import numpy as np
from jaxtyping import Bool, Int, UInt8, UInt64

DIGITS = 64
WORDS = DIGITS // 16
HEXADECIMAL = re.compile(r"[0-9a-f]{64}")
AT_ONCE = 10_000  # ids that are made text at a time

Words = UInt64[np.ndarray, "n 4"]


def numbers_of(digits: UInt8[np.ndarray, "bytes"]) -> UInt64[np.ndarray, "n"]:
    """Each 16 hexadecimal digits (ASCII) as a number. Raises ValueError for what is no digit."""
    return np.frombuffer(binascii.unhexlify(digits.data), dtype=">u8").astype(np.uint64)


def grouped(words: Words) -> tuple[Int[np.ndarray, "n"], Int[np.ndarray, "m"]]:
    """The positions that put ids into ascending order, equal ones as they were, and where in it each id begins."""
    first = np.ascontiguousarray(words[:, 0])
    order = np.argsort(first)
    ascending = first.take(order)
    alike = np.flatnonzero(ascending[1:] == ascending[:-1])
    tied = np.union1d(alike, alike + 1)
    among = order[tied]
    order[tied] = among[np.lexsort((among, *words[among].T[::-1]))]  # two ids that only begin alike are told apart too
    begins = np.ones(len(words), dtype=bool)
    begins[alike + 1] = (words[order[alike + 1]] != words[order[alike]]).any(axis=1)
    return order, np.flatnonzero(begins)


class SortedIds(Sequence[str]):
    """Image ids, sha256 as 64 lower-case hexadecimal digits: ascending, each once. A slice is a list of texts."""

    def __init__(self, words: Words, rows: Int[np.ndarray, "m"]) -> None:
        """Of the ids, as four words each, that lie in these rows: ascending and each once already."""
        self._words = words
        self._rows = rows
        self._first = words[:, 0].take(rows)  # what a search looks at most

    @classmethod
    def of(cls, ids: Iterable[str]) -> "SortedIds":
        """Of ids in any order. Raises ValueError for one that is no sha256."""
        unique = set(ids)
        wrong = next((name for name in unique if not HEXADECIMAL.fullmatch(name)), None)
        if wrong is not None:
            raise ValueError(f"{wrong[:80]!r} is no image's id; give a sha256, 64 lower-case hexadecimal digits.")
        words = _words(unique)
        return cls(words, grouped(words)[0])

    def without(self, ids: Iterable[str]) -> "SortedIds":
        """All but these; what is not among them, or is no id, is ignored."""
        return self.where(~self.among(ids))

    def among(self, ids: Iterable[str]) -> Bool[np.ndarray, "n"]:
        """For each id whether it is one of these, which may be in any order; what is no id is ignored."""
        found = self._positions(_words([name for name in ids if HEXADECIMAL.fullmatch(name)]))
        are_among = np.zeros(len(self), dtype=bool)
        are_among[found[found >= 0]] = True
        return are_among

    def where(self, keep: Bool[np.ndarray, "n"]) -> "SortedIds":
        """The ids at the positions that are True."""
        if keep.all():
            return self
        rows = self._rows[keep]
        if len(rows) * 4 > len(self._words):
            return SortedIds(self._words, rows)
        return SortedIds(self._words.take(rows, axis=0), np.arange(len(rows)))  # few ids do not keep all words alive

    def position(self, image_id: str) -> int | None:
        """The position of an id, None where it is not among them."""
        if not HEXADECIMAL.fullmatch(image_id):
            return None
        position = int(self._positions(_words([image_id]))[0])
        return None if position < 0 else position

    def __len__(self) -> int:
        return len(self._first)

    def __contains__(self, image_id: object) -> bool:
        return isinstance(image_id, str) and self.position(image_id) is not None

    @overload
    def __getitem__(self, index: SupportsIndex) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: SupportsIndex | slice) -> str | list[str]:
        if isinstance(index, slice):
            return _texts(self._words.take(self._rows[index], axis=0))
        return _texts(self._words[self._rows[index.__index__()]][np.newaxis])[0]

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), AT_ONCE):
            yield from self[start : start + AT_ONCE]

    def __eq__(self, other: object) -> bool:
        """True for any sequence of the same ids in the same order."""
        if isinstance(other, SortedIds):
            return np.array_equal(self._words.take(self._rows, axis=0), other._words.take(other._rows, axis=0))
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # as of any list

    def __repr__(self) -> str:
        return f"<SortedIds: {len(self)}>"

    def _positions(self, wanted: Words) -> Int[np.ndarray, "m"]:
        """The position of each of these, -1 where it is not among them."""
        start = np.searchsorted(self._first, wanted[:, 0])
        end = np.searchsorted(self._first, wanted[:, 0], side="right")
        found = np.full(len(wanted), -1)
        while (open_ := np.flatnonzero((start < end) & (found < 0))).size:  # more than once only where ids begin alike
            same = (self._words.take(self._rows[start[open_]], axis=0) == wanted[open_]).all(axis=1)
            found[open_[same]] = start[open_[same]]
            start[open_] += 1
        return found


def _words(ids: Iterable[str]) -> Words:
    return numbers_of(np.frombuffer("".join(ids).encode(), dtype=np.uint8)).reshape(-1, WORDS)


def _texts(words: Words) -> list[str]:
    digits = words.astype(">u8").tobytes().hex()
    return [digits[at : at + DIGITS] for at in range(0, len(digits), DIGITS)]
