"""Mark runs as crashed when their process and worker were both killed, which Prefect does not notice.

Such a run is known by the store's lock, which it left behind.
"""

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
    """Mark a run, its subflows and its running tasks as crashed, which frees its concurrency slot at once.

    Only called for a run whose lock was not released. If Prefect does not answer, that is logged and the work goes on:
    the slot is freed when Prefect's own lease on it has ended.
    """
    log = get_run_logger()
    try:
        with get_client(sync_client=True) as client:
            for run in list(_open_runs(client, UUID(run_id))):
                log.warning("Run %r was killed with its worker: it is marked as crashed", run.name)
                _set_crashed(client, run)
    except (PrefectException, httpx.HTTPError, ValueError) as error:
        log.warning("Run %s was killed with its worker; Prefect could not be notified: %s", run_id, error)


def _open_runs(client: SyncPrefectClient, run_id: UUID) -> Iterator[FlowRun]:
    """The run and its subflows that have not ended, the innermost first; none if Prefect does not know it."""
    below = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[run_id]))
    for child in client.read_flow_runs(flow_run_filter=below):
        yield from _open_runs(client, child.id)
    for run in client.read_flow_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run_id]))):
        if run.state is not None and not run.state.is_final():
            yield run


def _set_crashed(client: SyncPrefectClient, run: FlowRun) -> None:
    running = TaskRunFilter(state=TaskRunFilterState(type=TaskRunFilterStateType(any_=[StateType.RUNNING])))
    of_run = FlowRunFilter(id=FlowRunFilterId(any_=[run.id]))
    for task in client.read_task_runs(flow_run_filter=of_run, task_run_filter=running):
        client.set_task_run_state(task.id, Crashed(message=MESSAGE))
    client.set_flow_run_state(run.id, Crashed(message=MESSAGE))
