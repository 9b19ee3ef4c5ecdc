"""Tables of the Prefect UI, whose page shows some eight columns."""

from pathlib import Path

import pytest

from flows.support.artifacts import rounds_table
from plankseg.config import RoundsConfig
from plankseg.pipeline.reports.status import read_status
from tests.support.little_store import add_answers, add_proposal, store_with

pytestmark = pytest.mark.slow  # loads Prefect


def test_the_table_of_rounds_shows_first_what_matters_and_no_column_of_zeros(tmp_path: Path) -> None:
    store = store_with(tmp_path, source=1, pool=5)
    ids = store.catalogue.ids("pool")
    add_proposal(store, 1, ids[:3])
    add_answers(store, 1, ids[:1], status="skipped")
    columns = ["round", "proposed", "answered", "redrawn", "seconds per image", "accepted", "corrected"]
    (row,) = rounds_table(read_status(store, RoundsConfig()))
    assert list(row) == [*columns, "skipped", "model"]
    assert (row["proposed"], row["answered"], row["skipped"]) == (3, 1, 1)
