"""Names of runs, the recipe of a run form, and retries of tasks that use the network."""

from typing import Any

from prefect import runtime
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import exponential_backoff

from flows.support.store_lock import open_store
from plankseg.config import Recipe
from plankseg.errors import LabelStudioDownError, StoreDownError
from plankseg.pipeline.loop.progress import due, read_progress
from plankseg.pipeline.models.recipes import recipe_in_force
from plankseg.storage.store import Store

WITHOUT_ROUND = {"ingest": "no model yet", "pretrain": "no model yet", "finished": "all rounds are done"}
"""Why `advance` has no round to work on, by the step that is due."""


def recipe_or_active(store: Store, recipe: Recipe | None) -> Recipe:
    """The recipe of the active model, with the groups that the run form sets in the place of its own."""
    in_force = recipe_in_force(store)
    if recipe is None:
        return in_force
    return in_force.model_copy(update={group: getattr(recipe, group) for group in recipe.model_fields_set})


def step_name() -> str:
    """Name of a run: the round it works on and its step, for example 'round 3 · propose'.

    A run of `advance` that begins a round says so; one that has no round to work on is called by the reason: 'no model
    yet' or 'all rounds are done'.
    """
    flow, parameters = runtime.flow_run.flow_name, runtime.flow_run.parameters
    given = parameters.get("round_number")
    if given is not None:
        return f"round {given} · {flow}"
    store = open_store()
    progress = read_progress(store)
    if flow == "advance":
        recipe, budget = parameters.get("recipe"), parameters.get("budget")
        in_force = recipe_or_active(store, recipe if isinstance(recipe, Recipe) else None)
        without_round = due(progress, budget=in_force.rounds.budget if budget is None else budget)
        if without_round in WITHOUT_ROUND:
            return f"{WITHOUT_ROUND[without_round]} · {flow}"
    starts_next = flow in {"propose", "advance"} and (progress.trained or not progress.round)
    begins = "begin " if starts_next and flow == "advance" else ""  # else two runs would have the name of a round
    return f"{begins}round {progress.round + starts_next} · {flow}"


def is_server_down(_: Any, __: TaskRun, state: State[Any]) -> bool:
    """Retry only if a server did not answer, which may pass."""
    return isinstance(state.result(raise_on_failure=False), LabelStudioDownError | StoreDownError)


# Options of every task that uses the network; a task that only computes fails at once.
NETWORK_RETRIES: dict[str, Any] = {
    "retries": 4,
    "retry_delay_seconds": exponential_backoff(backoff_factor=2),
    "retry_condition_fn": is_server_down,
}
