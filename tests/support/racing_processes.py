"""Real processes that start at the same moment."""

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from typing import Any


def server() -> ForkServerContext:
    """Processes that start quickly: pyarrow imports pandas when first used, so it is loaded once, beforehand."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pandas", "pytest", "plankseg.storage.store", "boto3"])
    return context


def in_forked_child(work: Callable[[], bytes]) -> bytes:
    """What a plain fork of this process wrote, as a loader's worker does it."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        try:
            os.write(writing, work())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:  # noqa: PTH123  (a descriptor, no path)
        message = pipe.read()
    os.wait()
    return message


def race(work: Callable[..., Any], arguments: list[tuple[Any, ...]]) -> list[Any]:
    """What each process returned, or its error as text; all of them start at once."""
    context = server()
    barrier, answers = context.Barrier(len(arguments)), context.Queue()
    running = [
        context.Process(target=_run, args=(work, given, barrier, answers, dict(os.environ))) for given in arguments
    ]
    for process in running:
        process.start()
    collected = [answers.get(timeout=60) for _ in running]
    for process in running:
        process.join(60)
    return collected


def _run(
    work: Callable[..., Any],
    given: tuple[Any, ...],
    barrier: Barrier,
    answers: "Queue[Any]",
    environment: dict[str, str],
) -> None:
    os.environ.update(environment)  # the server of processes has that of its own start
    barrier.wait(60)
    try:
        answers.put(work(*given))
    except Exception as error:  # noqa: BLE001  (whatever it is, the test that compares the answers shows it)
        answers.put(repr(error))
