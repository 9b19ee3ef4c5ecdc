"""Draw the images of the validation set: a few of every class of the pool, by lot.

From the draw on they have the role validation: no round proposes them, and nothing trains on them.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from plankseg.config import ValidationDraw
from plankseg.imaging.perceptual_hash import alike, as_numbers, perceptual_hash
from plankseg.pipeline.models.recipes import recipe_in_force
from plankseg.pipeline.pool.candidates import choosable
from plankseg.stable_hash import stable_hash
from plankseg.storage.schemas import utc_now
from plankseg.storage.store import Store
from plankseg.storage.tables.catalogue import ImageRow

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DrawReport:
    """What a draw added, and the classes (None: images without one) that have fewer images than were asked for."""

    new: tuple[str, ...]
    short: Mapping[str | None, int]
    unreadable: tuple[str, ...]


def draw_validation(store: Store, wanted: ValidationDraw) -> DrawReport:
    """Bring every class of the pool to `per_class` images of the validation set, in one commit. Idempotent.

    An image's position in the draw depends on itself and the seed alone. Never drawn: what was proposed or answered,
    what is similar to an image of the set, what cannot be read. A class that came later gets its own images, the others
    none; with `replace_refused` an image that a person skipped or called unusable is replaced by the next one.
    """
    draw = _Draw(store, wanted, bits=recipe_in_force(store).validation.near_duplicate_bits)
    taxa = store.catalogue.taxa("pool")
    by_taxon: dict[str | None, list[str]] = defaultdict(list)
    for image_id in choosable(store):
        by_taxon[taxa[image_id]].append(image_id)
    short: dict[str | None, int] = {}
    for taxon in sorted(set(taxa.values()), key=lambda name: name or ""):
        still_missing = draw.fill(taxon, by_taxon[taxon])
        if still_missing > 0:
            short[taxon] = wanted.per_class - still_missing
    if draw.rows:
        store.catalogue.add(draw.rows)
    return DrawReport(tuple(row.image_id for row in draw.rows), short, tuple(sorted(draw.unreadable)))


def draw_at_random(store: Store, images: int, *, seed: int = 0) -> DrawReport:
    """Draw so many images of the whole pool, whatever their classes, where there is no validation set yet.

    At most a tenth of the pool is drawn: the rest is to be asked about. Where there is a validation set nothing is
    drawn, so this may be repeated.
    """
    pool = choosable(store)
    images = min(images, len(pool) // 10)
    if store.catalogue.ids("validation") or not images:
        return DrawReport((), {}, ())
    draw = _Draw(
        store,
        ValidationDraw(per_class=images, seed=seed),
        bits=recipe_in_force(store).validation.near_duplicate_bits,
    )
    still_missing = draw.fill(None, pool)
    if draw.rows:
        store.catalogue.add(draw.rows)
    short: dict[str | None, int] = {None: images - still_missing} if still_missing > 0 else {}
    return DrawReport(tuple(row.image_id for row in draw.rows), short, tuple(sorted(draw.unreadable)))


class _Draw:
    """The rows drawn so far, and the hashes of the images that the next ones must differ from."""

    def __init__(self, store: Store, wanted: ValidationDraw, *, bits: int) -> None:
        self.rows: list[ImageRow] = []
        self.unreadable: list[str] = []
        self._store = store
        self._wanted = wanted
        self._bits = bits
        self._missing = _missing_per_class(store, wanted)
        self._hashes = [known for known in store.catalogue.hashes("validation").values() if known]

    def fill(self, taxon: str | None, image_ids: Sequence[str]) -> int:
        """Draw the images that a class lacks. Returns how many are still missing afterwards."""
        missing = self._missing.get(taxon, self._wanted.per_class)
        for row in self._readable(sorted(image_ids, key=lambda i: _lot(self._wanted.seed, i))):
            if missing <= 0:
                break
            if alike(as_numbers([str(row.phash)]), as_numbers(self._hashes), bits=self._bits)[0]:
                continue
            self.rows.append(row)
            self._hashes.append(str(row.phash))
            missing -= 1
        return missing

    def _readable(self, image_ids: Sequence[str]) -> Iterator[ImageRow]:
        """Rows of the images that can be read, with the role validation; the others are noted."""
        for image_id, grey in self._store.catalogue.readable(image_ids, self._leave_out):
            row = self._store.catalogue.row(image_id)
            yield replace(row, role="validation", phash=perceptual_hash(grey), half=None, added_at=utc_now())

    def _leave_out(self, image_id: str, error: Exception) -> None:
        log.warning("Image %s is left out of the draw: %s", image_id, error)
        self.unreadable.append(image_id)


def _missing_per_class(store: Store, wanted: ValidationDraw) -> dict[str | None, int]:
    """How many images each class of the validation set lacks; a class that is not in it lacks all."""
    refused = _refused(store) if wanted.replace_refused else frozenset()
    taxa = store.catalogue.taxa("validation")
    present = Counter(taxon for image_id, taxon in taxa.items() if image_id not in refused)
    return {taxon: wanted.per_class - present[taxon] for taxon in set(taxa.values())}


def _refused(store: Store) -> frozenset[str]:
    rows = store.labels.current()
    return frozenset(row.image_id for row in rows if row.by_person and row.status in ("skipped", "unusable"))


def _lot(seed: int, image_id: str) -> bytes:
    return stable_hash(f"validation {seed}", image_id)
