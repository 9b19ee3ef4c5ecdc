"""Dask workers for a flow: connect to a scheduler or start workers here, check versions, wait for results."""

import gc
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from prefect import get_run_logger

from plankseg.config import Settings, settings
from plankseg.errors import RunnerError, SettingsError

if TYPE_CHECKING:
    from distributed import Client
    from prefect_dask.task_runners import DaskTaskRunner, PrefectDaskFuture

R = TypeVar("R")

CONNECT_TIMEOUT_S = 15.0  # a running scheduler answers at once
FIRST_WORKER_TIMEOUT_S = 60.0  # workers that are started together with the scheduler need some seconds
WORKER_CHECK_S = 30.0  # how often we check that a worker is left
NO_WORKER_TIMEOUT_S = 600.0  # a machine that is started anew may take minutes
WORKER_BYTES = 2 * 2**30  # torch, a network and a few batches of squares
# Dask serves its logs and tables of tasks over plain HTTP, to every user of the machine and without the key.
NO_STATUS_PAGES = {f"distributed.{part}.http.routes": [] for part in ("scheduler", "worker")}
SAME_EVERYWHERE = ("python", "dask", "distributed", "cloudpickle")
SAME_ON_WORKERS = ("plankseg", "prefect", "torch", "numpy")
RUN_AGAIN = "then run this again: finished shards are kept"


@contextmanager
def connect_dask(settings: Settings) -> "Iterator[tuple[DaskTaskRunner, Client]]":
    """Prefect's runner on the workers of a scheduler, or on a cluster of this machine that ends with the block.

    Raises:
        SettingsError: scheduler or workers have other versions than this flow.
        RunnerError: no scheduler answers, or it has no worker.
    """
    from prefect_dask import DaskTaskRunner

    where = {"address": settings.dask_address} if settings.dask_address else {"cluster_class": _local_cluster}
    gc.collect()  # a client that never found its scheduler blocks on distributed's lock when it is collected later
    with DaskTaskRunner(**where, client_kwargs={"timeout": CONNECT_TIMEOUT_S}) as runner:
        client = _client_with_worker(runner, settings.dask_address)
        check_versions(client)
        get_run_logger().info("%d Dask workers at %s", len(client.nthreads()), _address(client))
        yield runner, client


def _client_with_worker(runner: "DaskTaskRunner", address: str) -> "Client":
    """The client, as soon as there is a worker."""
    try:
        client = runner.client
    except (OSError, ValueError) as error:  # no scheduler there, or no address at all
        if not address:
            raise
        raise RunnerError(
            f"No Dask scheduler answers at PLANKSEG_DASK_ADDRESS={address} ({error}). Start one with `dask scheduler`, "
            "correct the address, or unset it: then workers of this machine are used."
        ) from error
    try:
        client.wait_for_workers(1, timeout=FIRST_WORKER_TIMEOUT_S)
    except TimeoutError as error:
        raise RunnerError(
            f"The Dask scheduler {_address(client)} has had no worker for {FIRST_WORKER_TIMEOUT_S:.0f} s. Start some "
            f"in plankseg's environment: `dask worker {_address(client)} --nworkers -1 --nthreads 1`."
        ) from error
    return client


def _local_cluster() -> Any:
    """Worker processes on this machine; only this run has their key, and they end with it.

    One for each GPU, or one for each core as far as memory allows, with one thread each.
    """
    import dask.config
    from distributed import Nanny, Scheduler, Security, SpecCluster

    key = Security.temporary()
    local = {"host": "127.0.0.1", "protocol": "tls://", "security": key, "dashboard": False}
    worker = {"nthreads": 1, "memory_limit": 0}  # no limit by Dask
    with dask.config.set(NO_STATUS_PAGES):
        return SpecCluster(
            scheduler={"cls": Scheduler, "options": {**local, "port": 0, "dashboard_address": "127.0.0.1:0"}},
            workers={
                number: {"cls": Nanny, "options": {**local, **worker, "env": {"PLANKSEG_DEVICE": device}}}
                for number, device in enumerate(local_devices(settings().device))
            },
            security=key,
            silence_logs=logging.WARNING,
        )


def local_devices(device: str) -> list[str]:
    """The device of each worker process on this machine."""
    from dask.system import CPU_COUNT
    from distributed.system import MEMORY_LIMIT

    from plankseg.learning.network.architecture import choose_device
    from plankseg.pipeline.training.candidates import devices_for

    if choose_device(device).type == "cpu":
        return ["cpu"] * max(1, min(CPU_COUNT, MEMORY_LIMIT // WORKER_BYTES))
    return list(devices_for(device, None))


def check_versions(client: "Client") -> None:
    """Raise SettingsError if scheduler or workers have other versions: tasks would not arrive, or results differ."""
    versions = client.get_versions(packages=list(SAME_ON_WORKERS))
    ours = versions["client"]["packages"]
    machines = [("the scheduler", versions["scheduler"], SAME_EVERYWHERE)]
    machines += [
        (f"worker {name}", worker, SAME_EVERYWHERE + SAME_ON_WORKERS) for name, worker in versions["workers"].items()
    ]
    other = [
        f"{machine} has {name} {_version(theirs['packages'], name)}, this flow {_version(ours, name)}"
        for machine, theirs, names in machines
        for name in names
        if _version(theirs["packages"], name) != _version(ours, name)
    ]
    if other:
        more = f" and {len(other) - 3} more" if len(other) > 3 else ""
        raise SettingsError(
            f"Versions differ: {'; '.join(other[:3])}{more}. Install the same requirements.lock on every machine."
        )


def _version(packages: Mapping[str, Any], name: str) -> str:
    """A package's version; of Python only major and minor, because pickles depend on no more."""
    version = str(packages.get(name))
    return ".".join(version.split(".")[:2]) if name == "python" else version


def wait_for_shard(client: "Client", future: "PrefectDaskFuture[Any]") -> None:
    """Wait until a shard is done, failed or lost. Raises RunnerError when no worker is left for ten minutes."""
    without_worker_since: float | None = None
    while not future.wrapped_future.done():
        future.wait(WORKER_CHECK_S)
        if future.wrapped_future.done() or client.status != "running" or client.nthreads():
            without_worker_since = None
            continue
        without_worker_since = without_worker_since or time.monotonic()
        get_run_logger().warning("No Dask worker is left at %s; waiting for one", _address(client))
        if time.monotonic() - without_worker_since > NO_WORKER_TIMEOUT_S:
            raise RunnerError(
                f"The Dask scheduler {_address(client)} has had no worker for {NO_WORKER_TIMEOUT_S / 60:.0f} minutes. "
                f"Start some, {RUN_AGAIN}."
            )


def result_of(client: "Client", future: "PrefectDaskFuture[R]") -> R:
    """The result of a shard. Raises its error; Dask's own errors become a RunnerError that says what to do."""
    from distributed import KilledWorker
    from distributed.client import FutureCancelledError

    try:
        return future.result()
    except KilledWorker as error:
        raise RunnerError(
            f"{error.allowed_failures + 1} workers died at the same shard, the last one was "
            f"{error.last_worker.address}: probably for lack of memory. See their logs, run fewer workers on a "
            f"machine, {RUN_AGAIN}."
        ) from error
    except FutureCancelledError as error:
        raise RunnerError(
            f"The Dask scheduler {_address(client)} went away ({error.reason}). Start it and its workers, {RUN_AGAIN}."
        ) from error


def _address(client: "Client") -> str:
    return str(client.scheduler.address) if client.scheduler is not None else "of this run"
