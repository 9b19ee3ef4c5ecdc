"""What the flows share: the store and its lock, names of runs, retries, pictures under the UI's size bound."""

import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from logging import LoggerAdapter
from typing import Any

from prefect import runtime
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import exponential_backoff

from flows.burying import bury
from plankseg.config import Recipe, settings
from plankseg.errors import LabelStudioDownError, StoreDownError, StoreError
from plankseg.rounds.effort import anchoring_of, effort_of
from plankseg.rounds.progress import look, recipe_in_force
from plankseg.rounds.status import last_decision, read_status
from plankseg.storage.store import Store

# A tick of the clock with nothing to do holds the store for some seconds; what a person started waits that long for it,
# and so does the nudge of a round's last answer, which a tick may have looked for a moment too early.
PATIENCE_S = 60.0

# Which stores the flow that is running here holds, subflows included; another thread or process has its own.
_at_work: ContextVar[frozenset[object]] = ContextVar("_at_work", default=frozenset())


@dataclass(frozen=True)
class StoreAt:
    """A flow's store, for a task that may run in another process or on another machine, whose settings are others."""

    location: str
    max_image_pixels: int

    @classmethod
    def ours(cls) -> "StoreAt":
        """The store of PLANKSEG_STORE."""
        return cls(settings().store_location, settings().max_image_pixels)

    def open(self) -> Store:
        """The store, where it can be seen. Raises StoreError where it cannot; none is made."""
        if not Store.exists(self.location):
            raise StoreError(
                f"{platform.node()} sees no store at {self.location}. Workers of other machines need a store in a "
                "bucket, s3://bucket/prefix, or a folder that all of them mount in the same place."
            )
        return Store.open(self.location, max_image_pixels=self.max_image_pixels)


def open_store() -> Store:
    """The store of PLANKSEG_STORE."""
    return Store.open(settings().store_location, max_image_pixels=settings().max_image_pixels)


@contextmanager
def at_work(store: Store) -> Iterator[None]:
    """Hold the store's lock during a run; a flow that is called by another works under the caller's.

    Whoever was killed with the lock in its hands is marked as crashed in Prefect (see `burying`).

    Raises:
        StoreBusyError: another run is at work on this store, and longer than we wait; it names the process.
    """
    if store.root in _at_work.get():
        yield
        return
    with store.lock("advance", wait_s=PATIENCE_S, note=str(runtime.flow_run.id or "")) as killed:
        if killed:
            bury(killed)
        token = _at_work.set(_at_work.get() | {store.root})
        try:
            yield
        finally:
            _at_work.reset(token)


def recipe_or_active(store: Store, recipe: Recipe | None) -> Recipe:
    """The recipe of the run form, or the one the active model was trained with where the form was left empty."""
    return recipe or recipe_in_force(store)


def step_name() -> str:
    """Name of a run: the round it works on and its step, for example 'round 3 · propose'."""
    flow = runtime.flow_run.flow_name
    given = runtime.flow_run.parameters.get("round_number")
    if given is not None:
        return f"round {given} · {flow}"
    progress = look(open_store())
    starts_next = flow in {"propose", "advance"} and (progress.trained or not progress.round)
    return f"round {progress.round + starts_next} · {flow}"


def is_label_studio_down(_: Any, __: TaskRun, state: State[Any]) -> bool:
    """Retry only what waiting can cure: a server that does not answer."""
    return isinstance(state.result(raise_on_failure=False), LabelStudioDownError | StoreDownError)


# Options of every task that talks to Label Studio; computing fails once, loudly.
ON_THE_NETWORK: dict[str, Any] = {
    "retries": 4,
    "retry_delay_seconds": exponential_backoff(backoff_factor=2),
    "retry_condition_fn": is_label_studio_down,
}


def show_rounds(store: Store) -> None:
    """Put the table of rounds into the Prefect UI."""
    recipe = recipe_in_force(store)
    status = read_status(store, recipe.rounds)
    if status.rounds:
        create_table_artifact(
            key="rounds",
            table=[row.model_dump() for row in status.rounds],
            description=f"{last_decision(status)}\n\nNext: {status.next}",
        )


def show_effort(store: Store) -> None:
    """Put what each round cost the person into the Prefect UI: one artifact, a new version whenever answers arrive."""
    from plankseg.rounds.effort_picture import effort_markdown

    efforts = effort_of(store, redrawn_below=recipe_in_force(store).rounds.redrawn_below)
    if efforts:
        text = effort_markdown(efforts, anchoring_of(store))
        create_markdown_artifact(key="effort", markdown=f"# Effort per round\n\n{text}", description="Effort per round")


def log_epochs(log: LoggerAdapter[Any]) -> Callable[[Any], None]:
    """What a training reports at each epoch's end, as a line of the run's log."""

    def report(epoch: Any) -> None:
        log.info(
            "epoch %d: loss %.4f, validation Dice %.4f, %.1f s",
            epoch.epoch, epoch.loss, epoch.validation_dice, epoch.seconds,
        )  # fmt: skip

    return report


def show_picture(key: str, title: str, data_uri: str, text: str = "") -> None:
    """Put a picture into the Prefect UI; it lands in the server's database, so keep it under 200 kB."""
    create_markdown_artifact(key=key, markdown=f"# {title}\n\n{text}\n\n![{title}]({data_uri})", description=title)
