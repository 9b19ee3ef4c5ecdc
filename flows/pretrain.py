"""Flow `pretrain`: train model 0 before anybody has answered anything."""

from prefect import flow

from flows.retrain import fit_model
from flows.support.artifacts import show_rounds
from flows.support.store_lock import hold_store, open_store
from plankseg.config import Recipe, RecipeName
from plankseg.pipeline.models.named_recipes import recipe_for

PUBLISHED = Recipe()


@flow(name="pretrain", flow_run_name="round 0 · pretrain", persist_result=False)
def pretrain(named: RecipeName | None = None, recipe: Recipe = PUBLISHED) -> str:
    """Train model 0 on automatic masks. Where model 0 exists, nothing happens.

    Args:
        named: laptop: for a computer with two cores. quality: for one with a GPU. published: the numbers of the
            published method. Network, training and masks under Advanced are then not used. Left empty: all numbers are
            those under Advanced.
        recipe: Every number of the method; later rounds go on with them. Left as it is: the published ones.
    """
    store = open_store()
    with hold_store(store):
        result = fit_model(recipe_for(store, named, recipe) if named else recipe, 0)
        show_rounds(store)
        return result
