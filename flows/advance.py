"""What is due? Do it, and stop where a person is needed. Run twice, it changes nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.collect import collect
from flows.propose import propose, push, replace
from flows.retrain import retrain
from flows.support.artifacts import show_effort, show_rounds
from flows.support.flow_options import recipe_or_active, step_name
from flows.support.store_lock import hold_store, open_store
from plankseg.config import Recipe
from plankseg.errors import StoreBusyError
from plankseg.pipeline.loop.effort import plateau_reason
from plankseg.pipeline.loop.progress import describe, due, read_progress
from plankseg.storage.store import Store


def do_what_is_due(store: Store, recipe: Recipe | None, budget: int | None, *, go_on: bool = False) -> str:
    """Propose, push, collect and retrain until only a person can bring the loop forward; say what is next."""
    pushed = 0
    if read_progress(store).round:
        collect()  # first what people changed in any round: the next training uses it
    while True:
        in_force = recipe_or_active(store, recipe)
        if budget is not None:
            in_force = in_force.model_copy(update={"rounds": in_force.rounds.model_copy(update={"budget": budget})})
        rules, progress = in_force.rounds, read_progress(store)
        flat = "" if go_on else plateau_reason(store, rules)
        match due(progress, budget=rules.budget, flat=flat, replace=rules.replace_skipped):
            case "propose":
                pushed = propose(in_force, progress.round + 1)
                go_on = False  # a person's word is good for one round
            case "replace":
                replace(progress.round)
            case "retrain":
                retrain(in_force, progress.round)
            case "annotate":
                if pushed != progress.round:
                    push(progress.round)
                if read_progress(store).unanswered:  # else what was left was given up by the person
                    return describe(read_progress(store), budget=rules.budget)
            case _:
                return describe(progress, budget=rules.budget, flat=flat)


@contextmanager
def shown_at_the_end(store: Store) -> Iterator[None]:
    """Show rounds and effort anew if answers came, after all else, for that loads a plotting library."""
    before = store.labels.versions()
    try:
        yield
    finally:
        if store.labels.versions() != before:
            show_rounds(store)
            show_effort(store)


@flow(name="advance", flow_run_name=step_name, persist_result=False)
def advance(recipe: Recipe | None = None, budget: int | None = None, go_on: bool = False) -> State[Any]:
    """Bring the loop forward as far as it goes without a person.

    Args:
        recipe: Left empty: the recipe of the active model.
        budget: Rounds to be asked for in all. Left empty: the recipe's.
        go_on: Ask for one more round though effort and Dice are flat.
    """
    store = open_store()
    try:
        with hold_store(store), shown_at_the_end(store):
            return Completed(message=do_what_is_due(store, recipe, budget, go_on=go_on))
    except StoreBusyError as busy:
        return Completed(name="Skipped", message=f"Another run is at work, this one did nothing. {busy}")
