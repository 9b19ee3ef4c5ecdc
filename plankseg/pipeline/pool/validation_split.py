"""Split of the validation set: the selection half decides between models, the test half only reports.

The best of many epochs, rates and runs is partly luck on the images that decided. So the set is split once: the
selection half decides (best epoch, plateau, promotion, comparisons), and no decision depends on the test half.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from plankseg.stable_hash import stable_hash
from plankseg.storage.store import Store
from plankseg.storage.tables.catalogue import Half, ImageRow

MIN_IMAGES_TO_SPLIT = 4  # with fewer images there is no test half: a single image would decide


@dataclass(frozen=True)
class Halves:
    """The images of the validation set that have a usable mask, ascending; `test` is empty for a very small set.

    An automatic mask is none: it would measure how well a model repeats the automatic method.
    """

    selection: tuple[str, ...]
    test: tuple[str, ...]


def halves(store: Store) -> Halves:
    """The two halves as they are recorded, and images in none as `fix_halves` would put them; nothing is written.

    Within each taxon, and then over all, the halves differ by as few images as can be; ties are broken by the hash of
    the image. Once recorded, an image stays in its half whatever comes later.
    """
    return _split(store, _with_masks(store))[0]


def fix_halves(store: Store, image_ids: Iterable[str] | None = None) -> Halves:
    """Split as `halves` and record it for ever, for the images given or all with a mask; twice changes nothing.

    Called when something is trained: from then on the selection half has been used to choose.
    """
    ids = _with_masks(store) if image_ids is None else set(image_ids)
    _, new = _split(store, ids)
    if new:
        store.catalogue.record_halves(new)
    return _split(store, ids)[0]  # read again: another run may have been first


def _with_masks(store: Store) -> set[str]:
    labels = store.labels.current()
    usable = {row.image_id for row in labels if row.status == "usable" and row.origin != "threshold"}
    return usable & set(store.catalogue.ids("validation"))


def _split(store: Store, image_ids: set[str]) -> tuple[Halves, dict[str, Half]]:
    """The halves, and which images of them are not recorded yet."""
    rows = store.catalogue.rows(image_ids)
    new: dict[str, Half] = {row.image_id: "selection" for row in rows if row.half is None}
    if len(rows) >= MIN_IMAGES_TO_SPLIT:
        new = _balanced(rows)
    of: dict[str, Half] = {row.image_id: row.half for row in rows if row.half is not None} | new
    ids = sorted(of)
    split = Halves(tuple(i for i in ids if of[i] == "selection"), tuple(i for i in ids if of[i] == "test"))
    return split, new


def _balanced(rows: list[ImageRow]) -> dict[str, Half]:
    """A half for each row that has none: the one with fewer images of its taxon, then with fewer in all."""
    sizes: Counter[Half] = Counter(row.half for row in rows if row.half)
    of_taxon: dict[str | None, Counter[Half]] = defaultdict(Counter)
    for row in rows:
        if row.half:
            of_taxon[row.taxon][row.half] += 1
    new: dict[str, Half] = {}
    for row in sorted((row for row in rows if row.half is None), key=lambda row: (row.taxon or "", _draw(row))):
        lead = (of_taxon[row.taxon]["selection"] - of_taxon[row.taxon]["test"]) or (sizes["selection"] - sizes["test"])
        half: Half = "test" if lead > 0 or (lead == 0 and _draw(row)[0] & 1) else "selection"
        new[row.image_id] = half
        sizes[half] += 1
        of_taxon[row.taxon][half] += 1
    return new


def _draw(row: ImageRow) -> bytes:
    return stable_hash("half", row.image_id)
