"""Index of the address of every image, by its newest row."""

from collections.abc import Collection, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from plankseg.sorted_ids import WORDS, SortedIds, grouped
from plankseg.storage.delta_tables import Snapshot
from plankseg.storage.tables.role_index import id_words, put_together

COLUMNS = ("image_id", "uri", "added_at")


class UriIndex:
    """The address of each image by its newest row: its own bytes and some 60 more."""

    def __init__(self, images: Snapshot, *, only: Collection[str] | None = None) -> None:
        """Of all images, or only of some: then all rows are read, but few are kept."""
        where = None if only is None else pc.field("image_id").isin(pa.array(list(only), pa.string()))
        expected = images.rows if only is None else len(only)
        uris: list[pa.Array] = []

        def pieces() -> Iterator[tuple[np.ndarray, ...]]:
            for batch in images.batches(COLUMNS, where):
                uris.append(batch["uri"])
                yield id_words(batch["image_id"]), batch["added_at"].cast(pa.int64()).to_numpy()

        empty = (np.zeros((0, WORDS), np.uint64), np.zeros(0, np.int64))
        words, added = put_together(pieces(), empty, expected=expected)
        order, begins = grouped(words)
        if len(begins) < len(order):  # some images have several rows: the newest of each goes before the others
            image = np.repeat(np.arange(len(begins)), np.diff(begins, append=len(order)))
            order = order[np.lexsort((-added[order], image))]
        self._rows = order[begins]
        self._ids = SortedIds(words, self._rows)
        self._uris = pa.chunked_array(uris, pa.string())

    def uri(self, image_id: str) -> str | None:
        """An image's address, None for an unknown one."""
        position = self._ids.position(image_id)
        return None if position is None else str(self._uris[int(self._rows[position])].as_py())
