"""One small world for all tests of whole rounds, and a look at Label Studio."""

from collections.abc import Iterator

import pytest

from plankseg.labelling.api.client import LabelStudioClient
from tests.support.live_servers import LiveLabelStudio
from tests.support.small_world import World, make_world


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Images, ingested, with model 0."""
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def client(label_studio: LiveLabelStudio) -> Iterator[LabelStudioClient]:
    """Our own look at Label Studio."""
    with LabelStudioClient(label_studio.url, label_studio.token) as client:
        yield client
