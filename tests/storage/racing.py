"""Real processes that start at the same moment."""

import multiprocessing
from collections.abc import Callable
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from typing import Any


def race(work: Callable[..., Any], arguments: list[tuple[Any, ...]]) -> list[Any]:
    """What each process returned, or its error as text; all of them start at once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["pandas", "pytest", "plankseg.storage.store"]
    )  # pyarrow imports pandas when first used
    barrier, answers = context.Barrier(len(arguments)), context.Queue()
    running = [context.Process(target=_run, args=(work, given, barrier, answers)) for given in arguments]
    for process in running:
        process.start()
    collected = [answers.get(timeout=60) for _ in running]
    for process in running:
        process.join(60)
    return collected


def _run(work: Callable[..., Any], given: tuple[Any, ...], barrier: Barrier, answers: "Queue[Any]") -> None:
    barrier.wait(60)
    try:
        answers.put(work(*given))
    except Exception as error:  # noqa: BLE001  (whatever it is, the test that compares the answers shows it)
        answers.put(repr(error))
