"""Names of runs, the recipe of a run form, and retries of tasks that use the network."""

from typing import Any

from prefect import runtime
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import exponential_backoff

from flows.support.store_lock import open_store
from plankseg.config import Recipe
from plankseg.errors import LabelStudioDownError, StoreDownError
from plankseg.pipeline.loop.progress import read_progress
from plankseg.pipeline.models.recipes import recipe_in_force
from plankseg.storage.store import Store


def recipe_or_active(store: Store, recipe: Recipe | None) -> Recipe:
    """The recipe of the run form, or the one of the active model if the form was left empty."""
    return recipe or recipe_in_force(store)


def step_name() -> str:
    """Name of a run: the round it works on and its step, for example 'round 3 · propose'."""
    flow = runtime.flow_run.flow_name
    given = runtime.flow_run.parameters.get("round_number")
    if given is not None:
        return f"round {given} · {flow}"
    progress = read_progress(open_store())
    starts_next = flow in {"propose", "advance"} and (progress.trained or not progress.round)
    return f"round {progress.round + starts_next} · {flow}"


def is_server_down(_: Any, __: TaskRun, state: State[Any]) -> bool:
    """Retry only if a server did not answer, which may pass."""
    return isinstance(state.result(raise_on_failure=False), LabelStudioDownError | StoreDownError)


# Options of every task that uses the network; a task that only computes fails at once.
NETWORK_RETRIES: dict[str, Any] = {
    "retries": 4,
    "retry_delay_seconds": exponential_backoff(backoff_factor=2),
    "retry_condition_fn": is_server_down,
}
