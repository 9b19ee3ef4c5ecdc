"""Run the shards of an archive-wide pass, one after the other in this process or on the workers of Dask.

A shard is minutes of work, can be written twice without harm, and depends on no other shard. If a worker is lost, Dask
gives its shard to another one; if the scheduler is lost, the flow is simply run again.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from prefect import Task

from flows.support.dask_workers import connect_dask, result_of, wait_for_shard
from plankseg.config import Settings, settings
from plankseg.errors import SettingsError

R = TypeVar("R")


def run_each(task: "Task[..., R]", calls: Sequence[Mapping[str, Any]]) -> Iterator[R]:
    """The results of a task for each of these parameters, in their order, by the runner of PLANKSEG_RUNNER.

    The first call that fails ends it; calls that have not started by then are not made.

    Raises:
        SettingsError: the settings contradict each other, or scheduler or workers have other versions than this flow.
        RunnerError: the scheduler or its workers do not answer.
        Whatever the task raises.
    """
    if not on_dask():
        for call in calls:
            yield task(**call)
    elif calls:
        with connect_dask(settings()) as (runner, client):
            futures = [runner.submit(task, dict(call)) for call in calls]
            for future in futures:
                wait_for_shard(client, future)
                yield result_of(client, future)


def on_dask() -> bool:
    """Whether shards go to Dask workers. Raises SettingsError if the settings contradict each other."""
    check_runner(settings())
    return settings().runner == "dask"


def check_runner(settings: Settings) -> None:
    """Raise SettingsError if there is a Dask address that the chosen runner does not use."""
    if settings.dask_address and settings.runner != "dask":
        raise SettingsError(
            f"PLANKSEG_DASK_ADDRESS={settings.dask_address!r} is set, but PLANKSEG_RUNNER is {settings.runner!r}: set "
            "PLANKSEG_RUNNER=dask to work there, or unset the address."
        )
