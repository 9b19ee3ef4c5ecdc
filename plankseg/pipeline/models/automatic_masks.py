"""How well the automatic method suits the pool: the share of its images that got a mask."""

from dataclasses import dataclass

from plankseg.storage.store import Store


@dataclass(frozen=True)
class Acceptance:
    """Images of the pool that the automatic method was tried on, and those that it gave a mask for."""

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
