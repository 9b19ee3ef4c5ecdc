"""Byte budget: what several threads hold in memory at the same time stays below one sum."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class ByteBudget:
    """So many bytes for all threads together. A request above the whole sum waits until it is alone, and goes on.

    Whoever holds a part must not wait for more of the same budget; of two budgets, take them always in one order.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._free = total
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, amount: int) -> Iterator[None]:
        """Wait until so many bytes are free, and keep them until the end of the block."""
        amount = min(amount, self._total)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= amount)
            self._free -= amount
        try:
            yield
        finally:
            with self._changed:
                self._free += amount
                self._changed.notify_all()
