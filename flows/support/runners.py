"""Where do passes over very many images run? One shard after the other in this process, or on the workers of Dask.

A shard is minutes of work, is written so that twice is once, and depends on nothing but itself: a worker that is lost
costs the shard it was at, which Dask gives to another one; after a lost scheduler the flow is simply run again.
"""

import gc
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from prefect import Task, get_run_logger

from plankseg.config import Settings, settings
from plankseg.errors import RunnerError, SettingsError

if TYPE_CHECKING:
    from distributed import Client
    from prefect_dask.task_runners import DaskTaskRunner, PrefectDaskFuture

R = TypeVar("R")

CONNECT_S = 15.0  # a scheduler that is there answers at once
FIRST_WORKER_S = 60.0  # workers that are started together with the scheduler need some seconds
LOOK_S = 30.0  # how often we see whether a worker is left
NO_WORKER_S = 600.0  # a machine that is started anew may take minutes
WORKER_BYTES = 2 * 2**30  # torch, a network and a few batches of squares
SAME_EVERYWHERE = ("python", "dask", "distributed", "cloudpickle")
SAME_ON_WORKERS = ("plankseg", "prefect", "torch", "numpy")
AGAIN = "then run this again: finished shards are kept"


def run_each(task: "Task[..., R]", calls: Sequence[Mapping[str, Any]]) -> Iterator[R]:
    """The results of a task for each of these parameters, in their order, from where PLANKSEG_RUNNER says.

    The first call that fails ends it; those that have not begun by then are not made.

    Raises:
        SettingsError: the settings contradict each other, or scheduler or workers have other versions than we.
        RunnerError: the scheduler or its workers are not there, or went away.
        Whatever the task raises.
    """
    if not on_dask():
        for call in calls:
            yield task(**call)
    elif calls:
        with _dask(settings()) as (runner, client):
            futures = [runner.submit(task, dict(call)) for call in calls]
            for future in futures:
                _wait(client, future)
                yield _result(client, future)


def on_dask() -> bool:
    """Whether shards go to other processes. Raises SettingsError where the settings contradict each other."""
    check_runner(settings())
    return settings().runner == "dask"


def check_runner(settings: Settings) -> None:
    """Raise SettingsError where there is an address that nobody would ask."""
    if settings.dask_address and settings.runner != "dask":
        raise SettingsError(
            f"PLANKSEG_DASK_ADDRESS={settings.dask_address!r} is set, but PLANKSEG_RUNNER is {settings.runner!r}: set "
            "PLANKSEG_RUNNER=dask to work there, or unset the address."
        )


@contextmanager
def _dask(settings: Settings) -> "Iterator[tuple[DaskTaskRunner, Client]]":
    """Prefect's way to the workers of a scheduler, or to a cluster on this machine that ends with the block."""
    from prefect_dask import DaskTaskRunner

    where = {"address": settings.dask_address} if settings.dask_address else {"cluster_class": _cluster_here}
    gc.collect()  # a client that never found its scheduler waits for distributed's lock when it is collected: not later
    with DaskTaskRunner(**where, client_kwargs={"timeout": CONNECT_S}) as runner:
        client = _connected(runner, settings.dask_address)
        _check_versions(client)
        get_run_logger().info("%d Dask workers at %s", len(client.nthreads()), _address(client))
        yield runner, client


def _connected(runner: "DaskTaskRunner", address: str) -> "Client":
    """The client, once there is a worker."""
    try:
        client = runner.client
    except (OSError, ValueError) as error:  # nobody there, or no address at all
        if not address:
            raise
        raise RunnerError(
            f"No Dask scheduler answers at PLANKSEG_DASK_ADDRESS={address} ({error}). Start one with `dask scheduler`, "
            "correct the address, or unset it: then workers of this machine are used."
        ) from error
    try:
        client.wait_for_workers(1, timeout=FIRST_WORKER_S)
    except TimeoutError as error:
        raise RunnerError(
            f"The Dask scheduler {_address(client)} has had no worker for {FIRST_WORKER_S:.0f} s. Start some in "
            f"plankseg's environment: `dask worker {_address(client)} --nworkers -1 --nthreads 1`."
        ) from error
    return client


def _cluster_here() -> Any:
    """Worker processes on this machine; this run alone has the key to them, and they end with it.

    One for each GPU, or one for each core as far as memory goes, with one thread each.
    """
    from distributed import Nanny, Scheduler, Security, SpecCluster

    key = Security.temporary()
    here = {"host": "127.0.0.1", "protocol": "tls://", "security": key, "dashboard": False}
    one = {"nthreads": 1, "memory_limit": 0}  # how much there is, the machine says
    return SpecCluster(
        scheduler={"cls": Scheduler, "options": {**here, "port": 0, "dashboard_address": "127.0.0.1:0"}},
        workers={
            number: {"cls": Nanny, "options": {**here, **one, "env": {"PLANKSEG_DEVICE": device}}}
            for number, device in enumerate(_devices_here(settings().device))
        },
        security=key,
        silence_logs=logging.WARNING,
    )


def _devices_here(device: str) -> list[str]:
    """The device of each worker process on this machine."""
    from dask.system import CPU_COUNT
    from distributed.system import MEMORY_LIMIT

    from plankseg.learning.network.architecture import choose_device
    from plankseg.pipeline.training.candidates import devices_for

    if choose_device(device).type == "cpu":
        return ["cpu"] * max(1, min(CPU_COUNT, MEMORY_LIMIT // WORKER_BYTES))
    return list(devices_for(device, None))


def _check_versions(client: "Client") -> None:
    """Raise SettingsError where scheduler or workers have other versions: a task would not arrive, or bits differ."""
    seen = client.get_versions(packages=list(SAME_ON_WORKERS))
    ours = seen["client"]["packages"]
    places = [("the scheduler", seen["scheduler"], SAME_EVERYWHERE)]
    places += [(f"worker {name}", one, SAME_EVERYWHERE + SAME_ON_WORKERS) for name, one in seen["workers"].items()]
    other = [
        f"{place} has {name} {_version(there['packages'], name)}, this flow {_version(ours, name)}"
        for place, there, names in places
        for name in names
        if _version(there["packages"], name) != _version(ours, name)
    ]
    if other:
        more = f" and {len(other) - 3} more" if len(other) > 3 else ""
        raise SettingsError(
            f"Versions differ: {'; '.join(other[:3])}{more}. Install the same requirements.lock on every machine."
        )


def _version(packages: Mapping[str, Any], name: str) -> str:
    """A package's version; Python's without its last numbers, on which no pickle depends."""
    version = str(packages.get(name))
    return ".".join(version.split(".")[:2]) if name == "python" else version


def _wait(client: "Client", future: "PrefectDaskFuture[Any]") -> None:
    """Return when a shard is done, failed or lost; until then see to it that somebody is there to do it."""
    nobody_since: float | None = None
    while not future.wrapped_future.done():
        future.wait(LOOK_S)
        if future.wrapped_future.done() or client.status != "running" or client.nthreads():
            nobody_since = None
            continue
        nobody_since = nobody_since or time.monotonic()
        get_run_logger().warning("No Dask worker is left at %s; waiting for one", _address(client))
        if time.monotonic() - nobody_since > NO_WORKER_S:
            raise RunnerError(
                f"The Dask scheduler {_address(client)} has had no worker for {NO_WORKER_S / 60:.0f} minutes. Start "
                f"some, {AGAIN}."
            )


def _result(client: "Client", future: "PrefectDaskFuture[R]") -> R:
    """What a shard gave, or what it failed with; Dask's own errors in our words."""
    from distributed import KilledWorker
    from distributed.client import FutureCancelledError

    try:
        return future.result()
    except KilledWorker as error:
        raise RunnerError(
            f"{error.allowed_failures + 1} workers died at the same shard, the last one was "
            f"{error.last_worker.address}: for want of memory, most likely. See their logs, run fewer workers on a "
            f"machine, {AGAIN}."
        ) from error
    except FutureCancelledError as error:
        raise RunnerError(
            f"The Dask scheduler {_address(client)} went away ({error.reason}). Start it and its workers, {AGAIN}."
        ) from error


def _address(client: "Client") -> str:
    return str(client.scheduler.address) if client.scheduler is not None else "of this run"
