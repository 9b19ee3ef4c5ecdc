"""Near duplicates of validation images, which must not be proposed or trained on.

Identical files have the same image_id already. The same picture saved again, or slightly resized, is another file with
the content of a validation image: this one rule leaves it out wherever images are chosen or trained on.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from plankseg.storage.store import Store
from plankseg.storage.tables.catalogue import Role
from plankseg.storage.tables.role_index import RoleIndex

CHUNK = 5_000  # hashes per commit: a kill loses at most the work on these
TRAINING_ROLES: tuple[Role, ...] = ("source", "pool")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class NearDuplicate:
    """An image of source or pool that is left out, and the validation image `like` it, `bits_apart` hash bits away."""

    image_id: str
    role: Role
    like: str
    bits_apart: int


def near_duplicates(store: Store, *, bits: int, every: RoleIndex | None = None) -> list[NearDuplicate]:
    """Every image of source and pool at most so many bits from one of the validation set, by role and image_id.

    Only recorded hashes are compared: call `complete_hashes` before something is chosen or trained. `every` is the
    catalogue's index, for who has it already.
    """
    every = every or store.catalogue.role_index()
    (validation,) = np.nonzero(every.in_role("validation") & every.is_hashed)
    if not len(validation):
        return []
    from plankseg.imaging.perceptual_hash import nearest  # what an empty store can do without

    duplicates = []
    for role in TRAINING_ROLES:
        (others,) = np.nonzero(every.in_role(role) & every.is_hashed)
        least, which = nearest(every.hashes[others], every.hashes[validation], bits=bits)
        duplicates += [
            NearDuplicate(
                every.ids[others[near]], role, like=every.ids[validation[which[near]]], bits_apart=int(least[near])
            )
            for near in np.flatnonzero(least <= bits)
        ]
    return duplicates


def near_duplicate_ids(store: Store, *, bits: int, every: RoleIndex | None = None) -> frozenset[str]:
    """The ids of `near_duplicates`."""
    return frozenset(near.image_id for near in near_duplicates(store, bits=bits, every=every))


def complete_hashes(store: Store) -> int:
    """Compute and record the perceptual hash of every image that has none; how many could not be read.

    Ingest records hashes itself, so this is work only for images of an older plankseg, once, and nothing at all while
    there is no validation set. What cannot be read is left without a hash, with a warning: nobody can train on it.
    """
    every = store.catalogue.role_index()
    if not every.in_role("validation").any():
        return 0
    roles: tuple[Role, ...] = ("validation", *TRAINING_ROLES)
    missing = [image_id for role in roles for image_id in every.ids.where(every.in_role(role) & ~every.is_hashed)]
    unread = 0
    for first in range(0, len(missing), CHUNK):
        chunk = missing[first : first + CHUNK]
        hashes = _hashes(store, chunk)
        unread += len(chunk) - len(hashes)
        if hashes:
            store.catalogue.record_hashes(hashes)
    return unread


def _hashes(store: Store, image_ids: Iterable[str]) -> dict[str, str]:
    from plankseg.imaging.perceptual_hash import perceptual_hash  # loads OpenCV

    readable = store.catalogue.readable(
        image_ids,
        lambda image_id, error: log.warning("Image %s is not compared with the validation set: %s", image_id, error),
    )
    return {image_id: perceptual_hash(grey) for image_id, grey in readable}
