"""One small world for all tests of whole rounds."""

import pytest
from small_world import World, make_world


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Images, ingested, with model 0."""
    return make_world(tmp_path_factory.mktemp("world"))
