"""Flow `finalize`: train the final model on all answers."""

import time

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE

from flows.support.flow_options import recipe_or_active
from flows.support.store_lock import hold_store, open_store
from flows.support.training_progress import show_epochs
from plankseg.config import FinalConfig, Recipe, settings

PUBLISHED = FinalConfig()


@task(cache_policy=NO_CACHE, task_run_name="train the final model")
def fit_final_model(recipe: Recipe, final: FinalConfig) -> str:
    """Train, compare and record the final model; a killed training goes on where its last epoch ended."""
    from plankseg.pipeline.training.final_model import fit_final

    log, started = get_run_logger(), time.monotonic()
    model = fit_final(
        open_store(), recipe, final, settings(), report=show_epochs(log, "final-model-progress", final.epochs)
    )
    log.info(
        "Final model %s (%d px, %d epochs, %s): Dice %.3f on the %s. %s. %.0f s.",
        model.model_id[:8],
        model.side_px,
        model.epochs,
        model.candidate,
        model.validation_dice,
        model.validation_set,
        model.reason,
        time.monotonic() - started,
    )
    return f"final model {model.model_id[:8]}: validation Dice {model.validation_dice:.3f}; {model.reason}"


@flow(name="finalize", flow_run_name="finalize", persist_result=False)
def finalize(final: FinalConfig = PUBLISHED, recipe: Recipe | None = None) -> str:
    """Train the final model on all answers, longer and on larger images; with the same answers only once.

    Args:
        final: Size and length of the final training.
        recipe: Everything else. Left as it is: the settings of the model in use. Each box below is a group: if you
            press 'change', all its fields begin with the published values, not the model's, and all of them are used.
            Groups that you leave stay the model's. Side, images per training step, epochs and from which weights it
            goes on are always those above.
    """
    store = open_store()
    with hold_store(store):
        return fit_final_model(recipe_or_active(store, recipe), final)
