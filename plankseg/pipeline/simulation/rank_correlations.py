"""How well each measure of uncertainty orders images by how wrong their masks are, which only a simulation knows."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from plankseg.config import QueryConfig, Recipe, Settings
from plankseg.imaging.arrays import Mask
from plankseg.imaging.masks import dice
from plankseg.inference.predictor import TTAPredictor
from plankseg.learning.network.architecture import choose_device
from plankseg.pipeline.acquisition.score_shards import Scorer
from plankseg.pipeline.models.backend_choice import select_backends
from plankseg.pipeline.models.loading import load_network
from plankseg.pipeline.models.recipes import framing_of
from plankseg.pipeline.simulation.simulated_rounds import wrong_inverse_scores
from plankseg.storage.store import Store

IMAGES = 300
"""So many images of the pool are looked at, drawn at random."""

MEASURES: Mapping[str, Mapping[str, Any]] = {
    "variance": {},
    "entropy": {"measure": "entropy"},
    "jsd": {"measure": "jsd"},
    "dice": {"measure": "dice"},
    "conventional": {"measure": "conventional"},
    "variance around the outline": {"region": "band"},
    "entropy around the outline": {"measure": "entropy", "region": "band"},
    "variance of eight views": {"views": "dihedral"},
    "dice of eight views": {"measure": "dice", "views": "dihedral"},
}


def rank_correlations(
    store: Store, recipe: Recipe, settings: Settings, truth: Callable[[str], Mask], *, seed: int
) -> dict[str, float]:
    """Spearman's correlation between each measure and 1 less the true Dice, for the active model on images of the pool.

    Also for variance with a view that is turned back wrongly, which must be lower if the views are worth anything.
    """
    model = store.models.active()
    assert model is not None, "a start has model 0"
    network = load_network(store, model, choose_device(settings.device))
    backends = select_backends(store, model, network, recipe)
    pool = sorted(set(store.catalogue.ids("pool")) - store.exclusions.current().keys())
    order = np.random.default_rng([seed, 6]).permutation(len(pool))[:IMAGES]
    ids = sorted(pool[index] for index in order)

    def predictor(query: QueryConfig) -> TTAPredictor:
        return TTAPredictor(backends.for_masks, store.catalogue.load, query, framing_of(model))

    plain = recipe.query.model_copy(update={"measure": "variance", "region": "image", "views": "recipe"})
    predictions = list(predictor(plain).predict(ids))
    errors = [1 - dice(found.mask, truth(found.image_id)) for found in predictions]
    found = {
        name: _correlation(ids, predictor(plain.model_copy(update=dict(changes))).score(ids), errors)
        for name, changes in MEASURES.items()
    }
    scorer = Scorer(model, recipe.model_copy(update={"query": plain}), backends)
    wrong = wrong_inverse_scores(store, truth, scorer, ids)
    return found | {"variance, one view turned back wrongly": _correlation(ids, wrong, errors)}


def _correlation(ids: Sequence[str], scores: Mapping[str, float], errors: Sequence[float]) -> float:
    return round(float(spearmanr([scores[image_id] for image_id in ids], errors).statistic), 4)
