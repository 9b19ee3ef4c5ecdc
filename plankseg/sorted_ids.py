"""How are the ids of a million images kept, searched and drawn from, in 40 bytes each?

A Python string of 64 digits takes 113 bytes, and sorting a million of them seconds. Here an id is the 256-bit number
that it is, as four words; the order of the numbers is the order of their texts.
"""

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
    """Each 16 lower-case hexadecimal digits (ASCII) as a number; what is no digit gives some number or other."""
    eights = digits.view(">u8").astype(np.uint64)
    # All eight at once: '0' to '9' are 0x30 to 0x39, 'a' to 'f' 0x61 to 0x66; then halves are pushed together.
    values = (eights & 0x0F0F0F0F0F0F0F0F) + 9 * ((eights >> 6) & 0x0101010101010101)
    values = (values | values >> 4) & 0x00FF00FF00FF00FF
    values = (values | values >> 8) & 0x0000FFFF0000FFFF
    values = (values | values >> 16) & 0x00000000FFFFFFFF
    numbers: UInt64[np.ndarray, "n"] = values[0::2] << 32 | values[1::2]
    return numbers


def grouped(words: Words) -> tuple[Int[np.ndarray, "n"], Int[np.ndarray, "m"]]:
    """The positions that put ids into ascending order, equal ones as they were, and where in it each id begins."""
    first = np.ascontiguousarray(words[:, 0])
    order = np.argsort(first)
    alike = np.flatnonzero(first[order[1:]] == first[order[:-1]])
    tied = np.union1d(alike, alike + 1)
    among = order[tied]
    order[tied] = among[np.lexsort((among, *words[among].T[::-1]))]  # two ids that only begin alike are told apart too
    begins = np.ones(len(words), dtype=bool)
    begins[alike + 1] = (words[order[alike + 1]] != words[order[alike]]).any(axis=1)
    return order, np.flatnonzero(begins)


class SortedIds(Sequence[str]):
    """Image ids, sha256 as 64 lower-case hexadecimal digits: ascending, each once. A slice is a list of texts."""

    def __init__(self, words: Words) -> None:
        """Of ids as four words each, ascending and each once already."""
        self._words = words
        self._first = np.ascontiguousarray(words[:, 0])  # what a search looks at most

    @classmethod
    def of(cls, ids: Iterable[str]) -> "SortedIds":
        """Of ids in any order. Raises ValueError for one that is no sha256."""
        unique = set(ids)
        wrong = next((name for name in unique if not HEXADECIMAL.fullmatch(name)), None)
        if wrong is not None:
            raise ValueError(f"{wrong[:80]!r} is no image's id; give a sha256, 64 lower-case hexadecimal digits.")
        words = _words(unique)
        return cls(words[grouped(words)[0]])

    def without(self, ids: Iterable[str]) -> "SortedIds":
        """All but these; one that is not there, or no id at all, is as good as left out."""
        return self.where(~self.among(ids))

    def among(self, ids: Iterable[str]) -> Bool[np.ndarray, "n"]:
        """For each whether it is one of these, which may be in any order, and no ids at all."""
        found = self._positions(_words([name for name in ids if HEXADECIMAL.fullmatch(name)]))
        are_among = np.zeros(len(self), dtype=bool)
        are_among[found[found >= 0]] = True
        return are_among

    def where(self, keep: Bool[np.ndarray, "n"]) -> "SortedIds":
        """Those whose place says True."""
        return self if keep.all() else SortedIds(self._words[keep])

    def position(self, image_id: str) -> int | None:
        """The place of an id, None where it is not among them."""
        if not HEXADECIMAL.fullmatch(image_id):
            return None
        place = int(self._positions(_words([image_id]))[0])
        return None if place < 0 else place

    def __len__(self) -> int:
        return len(self._first)

    def __contains__(self, image_id: object) -> bool:
        return isinstance(image_id, str) and self.position(image_id) is not None

    @overload
    def __getitem__(self, place: SupportsIndex) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: SupportsIndex | slice) -> str | list[str]:
        if isinstance(place, slice):
            return _texts(self._words[place])
        return _texts(self._words[place.__index__()][np.newaxis])[0]

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), AT_ONCE):
            yield from self[start : start + AT_ONCE]

    def __eq__(self, other: object) -> bool:
        """True for any sequence of the same ids in the same order."""
        if isinstance(other, SortedIds):
            return np.array_equal(self._words, other._words)
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # as of any list

    def __repr__(self) -> str:
        return f"<SortedIds: {len(self)}>"

    def _positions(self, wanted: Words) -> Int[np.ndarray, "m"]:
        """The place of each of these, -1 where it is not among them."""
        place = np.searchsorted(self._first, wanted[:, 0])
        end = np.searchsorted(self._first, wanted[:, 0], side="right")
        found = np.full(len(wanted), -1)
        while (open_ := np.flatnonzero((place < end) & (found < 0))).size:  # more than once only where ids begin alike
            same = (self._words[place[open_]] == wanted[open_]).all(axis=1)
            found[open_[same]] = place[open_[same]]
            place[open_] += 1
        return found


def _words(ids: Iterable[str]) -> Words:
    return numbers_of(np.frombuffer("".join(ids).encode(), dtype=np.uint8)).reshape(-1, WORDS)


def _texts(words: Words) -> list[str]:
    digits = words.astype(">u8").tobytes().hex()
    return [digits[at : at + DIGITS] for at in range(0, len(digits), DIGITS)]
