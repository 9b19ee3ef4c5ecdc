"""Which files hold an image that we know already, and is anything left to do for it?"""

from pathlib import Path

from plankseg.storage.catalogue import Role
from plankseg.storage.labels import LabelRow
from plankseg.storage.store import Store

# Roles that an image keeps when the same bytes are handed in for another one: what is measured on is never learnt
# from, and what has an automatic mask is not asked for. The catalogue decides in the same order.
STRONGER: dict[Role, tuple[Role, ...]] = {"validation": (), "source": ("validation",), "pool": ("validation", "source")}


class KnownImages:
    """The images that the store held before an ingest, and those that the ingest has met so far.

    `ids` are those of the role that is ingested. `settled` need no look at their pixels: images of a stronger role, and
    known ones, except those without a usable label when masks are handed in.
    """

    def __init__(self, store: Store, role: Role, *, wants_masks: bool) -> None:
        self._catalogue = store.catalogue
        self._others = {i: f"an image of the {other}" for other in STRONGER[role] for i in store.catalogue.ids(other)}
        self._met: dict[str, str] = {}
        self._moved: dict[str, str] = {}
        self.ids = frozenset(store.catalogue.ids(role))
        labelled = {row.image_id for row in store.labels.current() if _is_final(row)} if wants_masks else self.ids
        self.settled = (self.ids & labelled) | self._others.keys()

    def meet(self, image_id: str, path: Path) -> str | None:
        """Remember a file; in words, what had the same bytes: an image of a stronger role, or a file met before."""
        is_there = image_id in self.ids or image_id in self._others
        if is_there and image_id not in self._moved and self._catalogue.is_lost(image_id):
            self._moved[image_id] = path.as_uri()
        before = self._others.get(image_id) or self._met.get(image_id)
        if image_id not in self.settled:
            self._met.setdefault(image_id, str(path))
        return before

    def take_moved(self) -> dict[str, str]:
        """The new places, image_id to uri, of images whose recorded file is gone; each is told once."""
        moved, self._moved = self._moved, {}
        return moved


def _is_final(row: LabelRow) -> bool:
    """True when a mask handed in now would change nothing."""
    return row.status == "usable" or (row.by_hand and row.status == "unusable")
