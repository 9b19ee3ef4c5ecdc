"""The images of the pool that may be proposed."""

from plankseg.config import Recipe
from plankseg.pipeline.models.recipes import recipe_in_force
from plankseg.pipeline.pool.near_duplicates import near_duplicate_ids
from plankseg.sorted_ids import SortedIds
from plankseg.storage.store import Store


def choosable(store: Store, recipe: Recipe | None = None) -> SortedIds:
    """Ids of the pool that may be proposed: never proposed before, never answered by hand, nor like the validation set.

    Nor images that were found unreadable: `ingest` includes them again where it finds them.
    How like is said by the recipe, or by the one in force.
    """
    bits = (recipe or recipe_in_force(store)).validation.near_duplicate_bits
    every = store.catalogue.role_index()
    taken = store.proposals.proposed_ids() | store.labels.hand_labelled_ids()
    taken |= near_duplicate_ids(store, bits=bits, every=every) | store.exclusions.current().keys()
    return every.ids.where(every.in_role("pool") & ~every.ids.among(taken))
