"""Which run was killed together with its worker, so that nobody said so to Prefect? One that left the store's lock."""

from collections.abc import Iterator
from uuid import UUID

import httpx
from prefect import get_run_logger
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterParentFlowRunId,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.exceptions import PrefectException
from prefect.states import Crashed

MESSAGE = "Its process was killed and the worker with it: it left the store's lock behind, which another run has now."


def mark_crashed(run_id: str) -> None:
    """Tell Prefect that a run, the subflows and the tasks it was in have crashed; its place is free at once then.

    Only ever called for a run whose lock the caller got without its being given back. Where Prefect cannot be told,
    that is logged: the work goes on, and the run's place is free when Prefect's own lease on it has ended.
    """
    log = get_run_logger()
    try:
        with get_client(sync_client=True) as client:
            for run in list(_open_runs(client, UUID(run_id))):
                log.warning("Run %r was killed with its worker: it is marked as crashed", run.name)
                _end(client, run)
    except (PrefectException, httpx.HTTPError, ValueError) as error:
        log.warning("Run %s was killed with its worker; Prefect could not be told: %s", run_id, error)


def _open_runs(client: SyncPrefectClient, run_id: UUID) -> Iterator[FlowRun]:
    """The run and all below it that have not ended, the innermost first; none where Prefect does not know it."""
    below = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[run_id]))
    for child in client.read_flow_runs(flow_run_filter=below):
        yield from _open_runs(client, child.id)
    for run in client.read_flow_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run_id]))):
        if run.state is not None and not run.state.is_final():
            yield run


def _end(client: SyncPrefectClient, run: FlowRun) -> None:
    running = TaskRunFilter(state=TaskRunFilterState(type=TaskRunFilterStateType(any_=[StateType.RUNNING])))
    of_run = FlowRunFilter(id=FlowRunFilterId(any_=[run.id]))
    for task in client.read_task_runs(flow_run_filter=of_run, task_run_filter=running):
        client.set_task_run_state(task.id, Crashed(message=MESSAGE))
    client.set_flow_run_state(run.id, Crashed(message=MESSAGE))
