"""Flow `advance`: do every step of the loop that is due, and stop where a person is needed. Idempotent."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.annotate_validation import ask_for_validation
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

AT_WORK = (
    "Another run is at work, so this one did nothing, and you need do nothing. What is due then is done by that run or "
    "by the run that the schedule of advance_regularly starts next."
)


def do_what_is_due(store: Store, recipe: Recipe | None, budget: int | None, *, go_on: bool = False) -> str:
    """Propose, push, collect and retrain until only a person can bring the loop forward. Returns what is due next."""
    pushed = 0
    if store.models.active() is not None:
        ask_for_validation(store, recipe_or_active(store, recipe))
    if read_progress(store).round:
        collect()  # first, because the next training uses what people changed in any round
    while True:
        in_force = recipe_or_active(store, recipe)
        if budget is not None:
            in_force = in_force.model_copy(update={"rounds": in_force.rounds.model_copy(update={"budget": budget})})
        rules, progress = in_force.rounds, read_progress(store)
        flat = "" if go_on else plateau_reason(store, rules)
        match due(progress, budget=rules.budget, flat=flat, replace=rules.replace_skipped):
            case "propose":
                pushed = propose(in_force, progress.round + 1)
                go_on = False  # the person's permission is for one round
            case "replace":
                replace(progress.round)
            case "retrain":
                retrain(in_force, progress.round)
            case "annotate":
                if pushed != progress.round:
                    push(progress.round, rules.asked_twice)
                if read_progress(store).unanswered:  # else the push recorded skips for deleted tasks
                    return describe(read_progress(store), budget=rules.budget)
            case _:
                return describe(progress, budget=rules.budget, flat=flat)


@contextmanager
def show_changes(store: Store) -> Iterator[None]:
    """Show rounds at the end if something changed, and effort, which loads a plotting library, if answers arrived."""
    before, rounds = store.labels.versions(), store.proposals.rounds()
    try:
        yield
    finally:
        has_answers = store.labels.versions() != before
        if has_answers or store.proposals.rounds() != rounds:
            show_rounds(store)
        if has_answers:
            show_effort(store)


@flow(name="advance", flow_run_name=step_name, persist_result=False)
def advance(recipe: Recipe | None = None, budget: int | None = None, go_on: bool = False) -> State[Any]:
    """Bring the loop forward as far as it goes without a person.

    Args:
        recipe: Settings of the method, for this run and all later rounds. Left as it is: those of the model in use.
            Each box below is a group: if you press 'change', all its fields begin with the published values, not the
            model's, and all of them are used. Groups that you leave stay the model's.
        budget: For this run alone: no round is begun after this number of them, so a larger one allows one more round.
            To allow more for good: Advanced, Rounds and when to stop. Left empty: the number there, else that of the
            model in use (10, unless it was changed).
        go_on: Begin one more round although the last rounds brought neither less effort nor a better Dice.
    """
    store = open_store()
    try:
        with hold_store(store), show_changes(store):
            return Completed(message=do_what_is_due(store, recipe, budget, go_on=go_on))
    except StoreBusyError as busy:
        get_run_logger().info("%s", busy)
        return Completed(name="Skipped", message=AT_WORK)
