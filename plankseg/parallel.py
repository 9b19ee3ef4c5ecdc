"""Ordered map over threads, with a bound on how far it runs ahead."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ordered_map(
    work: Callable[[Item], Result], items: Iterable[Item], *, threads: int, ahead: int, name: str = "ordered-map"
) -> Iterator[Result]:
    """`work(item)` for each item, in the items' order, computed by `threads` threads.

    At most `ahead` items are begun and not yet given out, so the memory stays bounded. Raises what `work` raises when
    its turn comes; items not begun by then are never begun. `name` is what the threads are called.
    """
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix=name)
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
