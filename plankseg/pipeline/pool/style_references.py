"""Style references: images of the pool that show the training what the target domain looks like."""

import heapq
import logging
from collections.abc import Iterator
from itertools import islice

import numpy as np
from jaxtyping import UInt8

from plankseg.config import Recipe
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

    The order of the draw depends on each image's own hash and the recipe's seed: the same pool gives the same images in
    any order, and a pool that grew gives mostly the same. Never drawn: validation images, their near duplicates, and
    images that a person called unusable. Images that cannot be read are left out with a warning. An empty pool gives no
    references, which `train` refuses.
    """
    if not needs_references(recipe.training.augmentation):
        return None
    side = plan_round(recipe.training, round_number).side_px
    readable = store.catalogue.readable(
        _drawn(store, recipe),
        lambda image_id, error: log.warning("Image %s is left out of the references: %s", image_id, error),
    )
    squares = [Letterbox.of(grey.shape, side).apply(grey) for _, grey in islice(readable, REFERENCES)]
    return np.array(squares, dtype=np.uint8).reshape(len(squares), side, side)


def _drawn(store: Store, recipe: Recipe) -> Iterator[str]:
    """Images of the pool, in the order in which they were drawn; a few more than are needed."""
    left_out = {row.image_id for row in store.labels.current() if row.status == "unusable" and row.by_person}
    left_out |= near_duplicate_ids(store, bits=recipe.validation.near_duplicate_bits)
    candidates = (image_id for image_id in store.catalogue.ids("pool") if image_id not in left_out)
    yield from heapq.nsmallest(
        REFERENCES + _SPARE,
        candidates,
        key=lambda image_id: stable_hash(f"reference {recipe.training.seed}", image_id),
    )
