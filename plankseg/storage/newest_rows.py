"""First row of each group in a given order: the rule by which the newest row of an append-only table counts."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def first_of_each(rows: pa.Table, keys: Sequence[str], order: Mapping[str, str]) -> pa.Table:
    """Of the rows that share all keys (none of them null) the first in the order; by ascending keys.

    `order` maps a column to 'ascending' or 'descending': {"added_at": "descending"} keeps the newest row.
    """
    if rows.num_rows == 0:
        return rows
    ordered = rows.sort_by([*((key, "ascending") for key in keys), *order.items()])
    begins = np.zeros(ordered.num_rows, dtype=bool)
    begins[0] = True
    for key in keys:
        column = ordered[key].combine_chunks()
        begins[1:] |= pc.not_equal(column.slice(1), column.slice(0, len(column) - 1)).to_numpy(zero_copy_only=False)
    return ordered.filter(pa.array(begins))


def ranks(column: pa.ChunkedArray, order: Sequence[str]) -> pa.Array:
    """The position of each value in `order`, for sorting by it; null for one that is not there."""
    return pc.index_in(column, pa.array(list(order)))
