"""Flow `pretrain`: train model 0 before anybody has answered anything."""

from prefect import flow

from flows.retrain import fit_model
from flows.support.artifacts import show_rounds
from flows.support.store_lock import hold_store, open_store
from plankseg.config import Recipe, RecipeChoice
from plankseg.pipeline.models.named_recipes import chosen_recipe

PUBLISHED = Recipe()


@flow(name="pretrain", flow_run_name="model 0 · pretrain", persist_result=False)
def pretrain(named: RecipeChoice | None = "laptop", recipe: Recipe = PUBLISHED) -> str:
    """Train model 0 on automatic masks. Where model 0 exists, nothing happens.

    Args:
        named: laptop: for a computer with two cores. quality: for one with a GPU. Both also train on the pool's
            automatic masks, if it was ingested with them. published: the values of the published method (README.md
            names it). own: all values are those under Advanced, the published ones where you change nothing.
        recipe: Settings of the method, for this training and all later rounds. Left as it is: network, training,
            masks and validation images to ask for as in the recipe above, everything else as published. Network,
            training and masks can be changed with the recipe 'own' alone; with another one the run ends at once and
            says so.
    """
    store = open_store()
    with hold_store(store):
        result = fit_model(chosen_recipe(store, named or "own", recipe), 0)
        show_rounds(store)
        return result
