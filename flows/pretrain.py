"""Flow `pretrain`: train model 0 on the clean archive alone."""

from prefect import flow

from flows.retrain import fit_model
from flows.support.artifacts import show_rounds
from flows.support.store_lock import hold_store, open_store
from plankseg.config import Recipe

PUBLISHED = Recipe()


@flow(name="pretrain", flow_run_name="round 0 · pretrain", persist_result=False)
def pretrain(recipe: Recipe = PUBLISHED) -> str:
    """Train model 0 on the source's automatic masks; it is there already: nothing happens.

    Args:
        recipe: Network, training and query; later rounds go on with it.
    """
    store = open_store()
    with hold_store(store):
        result = fit_model(recipe, 0)
        show_rounds(store)
        return result
