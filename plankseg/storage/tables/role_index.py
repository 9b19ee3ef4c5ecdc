"""Index of every image's role and perceptual hash: a million images in a second, 58 bytes each.

Read in pieces, from the three columns that are needed, into arrays.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from plankseg.errors import StoreError
from plankseg.sorted_ids import DIGITS, WORDS, SortedIds, grouped, numbers_of
from plankseg.storage.delta_tables import Snapshot

Role = Literal["source", "pool", "validation"]
# Of an image's roles the first in this order counts: validation images must never be trained on.
PRECEDENCE: tuple[Role, ...] = ("validation", "source", "pool")
COLUMNS = ("image_id", "role", "phash")
HASH_DIGITS = 16


@dataclass(frozen=True)
class RoleIndex:
    """Every image once, by ascending id: the position of its role in `PRECEDENCE`, and its perceptual hash.

    `hashes` are numbers, 0 where `is_hashed` says that there is none.
    """

    ids: SortedIds
    ranks: np.ndarray
    hashes: np.ndarray
    is_hashed: np.ndarray

    @classmethod
    def of(cls, images: Snapshot) -> "RoleIndex":
        """Of an image's rows the role that wins and the hash that some of them has. Raises StoreError for damage."""
        pieces = (
            (id_words(batch["image_id"]), _ranks(batch["role"]), *_hashes(batch["phash"]))
            for batch in images.batches(COLUMNS)
        )
        empty = (np.zeros((0, WORDS), np.uint64), np.zeros(0, np.int8), np.zeros(0, np.uint64), np.zeros(0, bool))
        words, ranks, hashes, is_hashed = put_together(pieces, empty, expected=images.rows)
        order, begins = grouped(words)
        ids = SortedIds(words, order[begins])
        if not len(begins):
            return cls(ids, ranks, hashes, is_hashed)
        return cls(
            ids,
            np.minimum.reduceat(ranks.take(order), begins),
            np.maximum.reduceat(hashes.take(order), begins),
            np.logical_or.reduceat(is_hashed.take(order), begins),
        )

    def without(self, ids: Collection[str]) -> "RoleIndex":
        """The index of all images but these."""
        if not ids:
            return self
        keep = ~self.ids.among(ids)
        return RoleIndex(self.ids.where(keep), self.ranks[keep], self.hashes[keep], self.is_hashed[keep])

    def in_role(self, role: Role) -> np.ndarray:
        """True for each image that counts in a role."""
        counting: np.ndarray = self.ranks == PRECEDENCE.index(role)
        return counting


def put_together(
    pieces: Iterable[tuple[np.ndarray, ...]], empty: tuple[np.ndarray, ...], *, expected: int
) -> tuple[np.ndarray, ...]:
    """Pieces of some columns as one array each, without room for both: `expected` rows, or more."""
    whole = [np.empty((expected, *column.shape[1:]), column.dtype) for column in empty]
    end = 0
    for piece in pieces:
        start, end = end, end + len(piece[0])
        for index, column in enumerate(piece):
            if end > len(whole[index]):
                more = np.empty((end, *column.shape[1:]), column.dtype)
                whole[index] = np.concatenate([whole[index][:start], more])
            whole[index][start:end] = column
    return tuple(column[:end] for column in whole)


def counting_rows(rows: pa.Table) -> tuple[SortedIds, pa.Table]:
    """Every image, ascending, and the row that counts for it: the newest of the role that wins."""
    order = np.argsort(-rows["added_at"].cast(pa.int64()).to_numpy(), kind="stable")
    ranks = np.concatenate([_ranks(part) for part in rows["role"].chunks] or [np.zeros(0, np.int8)])
    order = order[np.argsort(ranks[order], kind="stable")]
    words = np.concatenate([id_words(part) for part in rows["image_id"].chunks] or [np.zeros((0, WORDS), np.uint64)])
    again, begins = grouped(words.take(order, axis=0))
    counting = order[again[begins]]
    return SortedIds(words, counting), rows.drop_columns(["image_id", "added_at"]).take(pa.array(counting))


def id_words(ids: pa.Array) -> np.ndarray:
    """Ids as four words each, without a Python string for any. Raises StoreError for one that is no sha256."""
    return _numbers(ids, DIGITS, "image_id").reshape(-1, WORDS)


def _ranks(roles: pa.Array) -> np.ndarray:
    ranks = pc.index_in(roles, pa.array(PRECEDENCE))
    if ranks.null_count:
        raise StoreError(f"Table 'images' has roles other than {', '.join(PRECEDENCE)}; restore it from a backup.")
    numbers: np.ndarray = ranks.to_numpy().astype(np.int8)
    return numbers


def _hashes(hashes: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    is_hashed = hashes.is_valid().to_numpy(zero_copy_only=False)
    return _numbers(pc.fill_null(hashes, "0" * HASH_DIGITS), HASH_DIGITS, "phash"), is_hashed


def _numbers(texts: pa.Array, length: int, column: str) -> np.ndarray:
    """Texts of `length` hexadecimal digits each as numbers of 16 digits."""
    try:
        packed = texts.cast(pa.binary()).cast(pa.binary(length))
        digits = np.frombuffer(packed.buffers()[1], np.uint8, len(packed) * length, packed.offset * length)
        return numbers_of(digits)
    except ValueError as error:  # Arrow's and binascii's own errors are ValueErrors
        raise StoreError(
            f"Table 'images' has a {column} that is not {length} digits long ({error}); restore it from a backup."
        ) from error
