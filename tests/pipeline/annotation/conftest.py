"""Stores with a proposed round, and a Label Studio in memory, for the tests of annotation."""

from pathlib import Path

import pytest

from plankseg.labelling.testing.fake import FakeLabelStudio
from plankseg.storage.store import Store
from tests.support.annotation_desk import MASK, Desk, desk_with_round
from tests.support.little_store import add_model, add_proposal, store_with


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Six images, three of them proposed in round 1 and not pushed."""
    store = store_with(tmp_path, source=1, pool=6)
    add_model(store, 0)
    add_proposal(store, 1, store.catalogue.ids("pool")[:3], premask=MASK)
    return store


@pytest.fixture
def server() -> FakeLabelStudio:
    """An empty Label Studio in memory."""
    return FakeLabelStudio()


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A round that was pushed."""
    return desk_with_round(tmp_path)
