"""Ordered map over threads, with a bound on how far it runs ahead; and what the processor is called."""

import platform
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Ahead(Generic[Item]):
    """How many items are begun and not yet given out, and how much they may weigh together, such as in bytes."""

    items: int
    weight: Callable[[Item], int] = lambda _: 0
    max_weight: int = 0


def processor_name() -> str:
    """What the processor calls itself, such as "AMD EPYC"; where it does not, its architecture."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def ordered_map(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    threads: int,
    ahead: int | Ahead[Item],
    name: str = "ordered-map",
) -> Iterator[Result]:
    """`work(item)` for each item, in the items' order, computed by `threads` threads.

    At most `ahead` items are begun and not yet given out, so the memory stays bounded; one item may exceed the weight
    alone. Raises what `work` raises when its turn comes; items not begun by then are never begun. `name` is what the
    threads are called.
    """
    limit: Ahead[Item] = Ahead(ahead) if isinstance(ahead, int) else ahead
    waiting: deque[tuple[int, Future[Result]]] = deque()
    held = 0
    pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix=name)
    try:
        for item in items:
            waiting.append((limit.weight(item), pool.submit(work, item)))
            held += waiting[-1][0]
            while waiting and (len(waiting) >= limit.items or held > limit.max_weight):
                weight, future = waiting.popleft()
                held -= weight
                yield future.result()
        while waiting:
            yield waiting.popleft()[1].result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
