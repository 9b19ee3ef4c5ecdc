"""Flow `retrain`: train the model of a round on its corrections."""

import time

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE

from flows.support.artifacts import show_rounds
from flows.support.flow_options import recipe_or_active, step_name
from flows.support.store_lock import hold_store, open_store
from flows.support.training_progress import show_epochs
from plankseg.config import Recipe, settings
from plankseg.pipeline.loop.progress import check_trainable, read_progress


@task(cache_policy=NO_CACHE, task_run_name="train model {round_number}")
def fit_model(recipe: Recipe, round_number: int) -> str:
    """Train, evaluate and record one model; a killed training resumes where its last epoch ended."""
    from plankseg.learning.schedule import plan_round
    from plankseg.pipeline.training.round_training import fit  # torch is loaded only by the tasks that use it

    log, started = get_run_logger(), time.monotonic()
    model = fit(
        open_store(),
        recipe,
        settings(),
        round_number=round_number,
        report=show_epochs(log, f"model-{round_number}-progress", plan_round(recipe.training, round_number).epochs),
    )
    verdict = "put into use" if model.promoted else "not put into use"
    log.info(
        "Model %d (%d px, %d epochs): Dice %.3f on the %s, %s. Compared: %s. Training and measuring took %.0f s.",
        round_number,
        model.side_px,
        model.epochs,
        model.validation_dice,
        model.validation_set,
        verdict,
        model.reason,
        time.monotonic() - started,
    )
    return f"model {round_number}: Dice {model.validation_dice:.3f} on the {model.validation_set}, {verdict}"


@flow(name="retrain", flow_run_name=step_name, persist_result=False)
def retrain(recipe: Recipe | None = None, round_number: int | None = None) -> str:
    """Train the next model on the source and on all corrections so far.

    Args:
        recipe: Settings of the method, for this run and all later rounds. Left as it is: those of the model in use.
            Each box below is a group: if you press 'change', all its fields begin with the published values, not the
            model's, and all of them are used. Groups that you leave stay the model's.
        round_number: Left empty: the last round whose images were chosen.
    """
    store = open_store()
    with hold_store(store):
        progress = read_progress(store)
        n = progress.round if round_number is None else round_number
        check_trainable(progress, n)
        result = fit_model(recipe_or_active(store, recipe), n)
        show_rounds(store)
    return result
