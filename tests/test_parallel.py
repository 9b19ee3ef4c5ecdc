"""Threads give results in the items' order, run ahead by no more than was promised, and stop at an error."""

import threading
import time
from collections.abc import Iterator

import pytest

from plankseg.parallel import ordered_map


def test_results_come_in_the_order_of_the_items() -> None:
    def slow_first(number: int) -> int:
        time.sleep(0.02 if number == 0 else 0)
        return number * number

    assert list(ordered_map(slow_first, range(20), threads=4, ahead=8)) == [number * number for number in range(20)]


def test_no_more_items_are_taken_than_was_promised() -> None:
    taken = 0

    def without_end() -> Iterator[int]:
        nonlocal taken
        while True:
            taken += 1
            yield taken

    numbers = ordered_map(lambda number: number, without_end(), threads=2, ahead=5)
    assert [next(numbers) for _ in range(3)] == [1, 2, 3]
    assert taken == 3 + 5 - 1
    numbers.close()  # type: ignore[attr-defined]


def test_an_error_is_raised_in_its_turn_and_no_thread_stays() -> None:
    def work(number: int) -> int:
        if number == 3:
            raise ValueError("third")
        return number

    results = ordered_map(work, range(10), threads=2, ahead=4, name="to-be-gone")
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="third"):
        next(results)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("to-be-gone")]
