"""Which images of the pool show the training what the target domain looks like?"""

import heapq
import logging
from collections.abc import Iterator

import numpy as np
from jaxtyping import UInt8

from plankseg.config import Recipe
from plankseg.errors import ImageReadError, StoreError
from plankseg.imaging.letterbox import Letterbox
from plankseg.learning.augmentation.compositions import needs_references
from plankseg.learning.schedule import plan_round
from plankseg.pipeline.pool.near_duplicates import near_duplicate_ids
from plankseg.stable_hash import stable_hash
from plankseg.storage.store import Store

REFERENCES = 64
_SPARE = 2 * REFERENCES  # for those that cannot be read any more
log = logging.getLogger(__name__)


def reference_squares(store: Store, recipe: Recipe, round_number: int) -> UInt8[np.ndarray, "n side side"] | None:
    """Up to 64 images of the pool in squares of the round's side; None where the recipe's composition needs none.

    Each image has its place in a lottery by its own hash and the recipe's seed: the same pool gives the same images in
    any order, and a pool that grew mostly the same. Those of the validation set are never drawn, nor what is like them
    or was called unusable by a person; what cannot be read is left out with a warning. An empty pool gives none, which
    `train` refuses.
    """
    if not needs_references(recipe.training.augmentation):
        return None
    side = plan_round(recipe.training, round_number).side_px
    squares = np.empty((REFERENCES, side, side), dtype=np.uint8)
    found = 0
    for image_id in _lottery(store, recipe):
        try:
            grey = store.catalogue.load(image_id)
        except (ImageReadError, StoreError) as error:
            log.warning("Image %s is left out of the references: %s", image_id, error)
            continue
        squares[found] = Letterbox.of(grey.shape, side).apply(grey)
        found += 1
        if found == REFERENCES:
            break
    return squares[:found]


def _lottery(store: Store, recipe: Recipe) -> Iterator[str]:
    """Images of the pool, in the order in which they were drawn; a few more than are needed."""
    left_out = {row.image_id for row in store.labels.current() if row.status == "unusable" and row.by_person}
    left_out |= near_duplicate_ids(store, bits=recipe.validation.near_duplicate_bits)
    tickets = (image_id for image_id in store.catalogue.ids("pool") if image_id not in left_out)
    yield from heapq.nsmallest(
        REFERENCES + _SPARE,
        tickets,
        key=lambda image_id: stable_hash(f"reference {recipe.training.seed}", image_id),
    )
