"""How well the automatic method suits the target: the share of its images that got a mask."""

from dataclasses import dataclass

from plankseg.imaging.threshold import automatic_mask
from plankseg.storage.store import Store

FEWEST_TRIED, MOST_TRIED = 10, 100
"""Validation images that the method is tried on where there is nothing else; of fewer nothing is concluded."""


@dataclass(frozen=True)
class Acceptance:
    """Images of the target that the automatic method was tried on, and those that it gave a mask for."""

    accepted: int
    tried: int

    def is_below(self, share: float) -> bool:
        """True if it was tried, and gave masks for less than this share, 0 to 1."""
        return self.accepted < share * self.tried


def pool_acceptance(store: Store, *, version: int | None = None) -> Acceptance:
    """The acceptance by the label table's newest version or a past one, whatever people answered since."""
    pool = set(store.catalogue.ids("pool"))
    tried = [accepted for i, accepted in store.labels.automatic_masks(version=version).items() if i in pool]
    return Acceptance(sum(tried), len(tried))


def target_acceptance(store: Store) -> Acceptance:
    """That of the pool; where it was not tried on the pool, that of validation images, if there are ten."""
    of_pool, ids = pool_acceptance(store), store.catalogue.ids("validation")
    if of_pool.tried or len(ids) < FEWEST_TRIED:
        return of_pool
    greys = store.catalogue.readable([ids[index] for index in range(0, len(ids), 1 + len(ids) // MOST_TRIED)])
    accepted = [automatic_mask(grey, outline="local contrast").mask is not None for _, grey in greys]
    return Acceptance(sum(accepted), len(accepted))
