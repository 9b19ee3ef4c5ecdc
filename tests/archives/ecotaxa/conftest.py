"""A local EcoTaxa and a client that does not wait."""

from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from plankseg.archives.ecotaxa import imports
from plankseg.archives.ecotaxa.client import EcoTaxaClient, Pace
from tests.support.ecotaxa_server import TOKEN, EcoTaxaServer


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[EcoTaxaServer]:
    monkeypatch.setattr(imports, "POLL_S", 0.0)
    with EcoTaxaServer() as server:
        yield server


@pytest.fixture
def client(server: EcoTaxaServer) -> Iterator[EcoTaxaClient]:
    with EcoTaxaClient(server.url, SecretStr(TOKEN), pace=Pace(pause_s=0, first_wait_s=0)) as client:
        yield client
