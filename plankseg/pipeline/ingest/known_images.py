"""Images that the catalogue already holds: duplicates, stronger roles, new locations."""

from collections.abc import Callable

from plankseg.sorted_ids import SortedIds
from plankseg.storage.store import Store
from plankseg.storage.tables.catalogue import Role
from plankseg.storage.tables.labels import LabelRow

# Roles that an image keeps when the same bytes are handed in for another one: what is measured on is never learnt
# from, and what has an automatic mask is not asked for. The catalogue decides in the same order.
STRONGER: dict[Role, tuple[Role, ...]] = {"validation": (), "source": ("validation",), "pool": ("validation", "source")}


class KnownImages:
    """The images that the store held before an ingest, and those that the ingest has seen so far.

    `ids` are those of the role that is ingested. At 1.4 million known images some 90 MB, and 100 bytes a new one.
    """

    def __init__(self, store: Store, role: Role, *, wants_masks: bool, by_person: bool = False) -> None:
        self._catalogue = store.catalogue
        self._others: list[tuple[Role, SortedIds]] = [(other, store.catalogue.ids(other)) for other in STRONGER[role]]
        weaker = (other for other, stronger in STRONGER.items() if role in stronger)
        self._weaker: list[tuple[Role, SortedIds]] = [(other, store.catalogue.ids(other)) for other in weaker]
        self._seen: set[bytes] = set()
        self._every = store.catalogue.role_index().ids
        self._is_located = bytearray(len(self._every))
        self._unreadable = set(store.exclusions.current("unreadable"))
        self._found: set[str] = set()
        self._elsewhere: dict[str, str] = {}
        self._moved: dict[str, str] = {}
        self._labelled: set[str] | None = None
        if wants_masks:
            final = (row for row in store.labels.current() if _is_final(row, by_person=by_person))
            self._labelled = {row.image_id for row in final}
        self.ids = store.catalogue.ids(role)

    def is_complete(self, image_id: str) -> bool:
        """True when its pixels need not be read: it has a stronger role, or is known and nothing can be added."""
        if self._stronger_role(image_id) is not None:
            return True
        return image_id in self.ids and (self._labelled is None or image_id in self._labelled)

    def register(self, image_id: str, uri: str | None, location: Callable[[], str]) -> Role | bool:
        """Remember an image; the stronger role that it has, else whether the same bytes were seen before.

        Its bytes were just read at `uri`, or, where that is None, can be read only now; then `location` stores them.
        """
        stronger = self._stronger_role(image_id)
        if image_id in self._unreadable:
            self._found.add(image_id)
        if stronger is not None or image_id in self.ids:
            self._compare_location(image_id, uri, location)
        if stronger is not None:
            return stronger
        key = bytes.fromhex(image_id)
        if key in self._seen:
            return True
        if not self.is_complete(image_id):
            self._seen.add(key)
        return False

    def _compare_location(self, image_id: str, uri: str | None, location: Callable[[], str]) -> None:
        """Compare where an image was just read with where it is recorded."""
        position = self._every.position(image_id)
        if position is None or self._is_located[position]:
            return
        if uri is not None and self._catalogue.is_at(image_id, uri):
            self._is_located[position] = True
            self._elsewhere.pop(image_id, None)
        elif self._catalogue.is_lost(image_id) or (uri is None and self._catalogue.is_moved(image_id)):
            self._is_located[position] = True
            self._moved[image_id] = location()
        elif uri is not None:
            self._elsewhere.setdefault(image_id, uri)  # the recorded address may be read later in this ingest
        else:
            self._is_located[position] = True

    def role_before(self, image_id: str) -> Role | None:
        """The weaker role that an image had before this ingest gave it another; None for one that is new."""
        return next((role for role, ids in self._weaker if image_id in ids), None)

    def finish(self) -> None:
        """After the last file: images that were read elsewhere only are moved, unless their recorded address is right.

        Files may have been renamed or an archive written anew, so that other bytes are at the recorded address.
        """
        elsewhere, self._elsewhere = self._elsewhere, {}
        self._moved |= {image_id: uri for image_id, uri in elsewhere.items() if self._catalogue.is_moved(image_id)}

    def take_moved(self) -> dict[str, str]:
        """The new locations, image_id to uri, of images that are not at their recorded one; each is returned once."""
        moved, self._moved = self._moved, {}
        return moved

    def take_found(self) -> set[str]:
        """Images that had been left out as unreadable and were read now; each is returned once."""
        found, self._found = self._found, set()
        return found

    def _stronger_role(self, image_id: str) -> Role | None:
        return next((role for role, ids in self._others if image_id in ids), None)


def _is_final(row: LabelRow, *, by_person: bool) -> bool:
    """True when a mask handed in now would change nothing; one `by_person` counts before those that no person made."""
    if row.status == "usable":
        return row.by_person or not by_person
    return row.by_person and row.status == "unusable"
