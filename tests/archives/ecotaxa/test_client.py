"""Requests to a little EcoTaxa of this machine: waiting, refusals, and a token that is never shown."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from pydantic import SecretStr

from plankseg.archives.ecotaxa import client as module
from plankseg.archives.ecotaxa.client import EcoTaxaClient, Pace
from plankseg.errors import EcoTaxaAuthError, EcoTaxaDownError, EcoTaxaError, SettingsError
from tests.support.ecotaxa_server import TOKEN, EcoTaxaServer, Fault


@pytest.fixture
def server() -> Iterator[EcoTaxaServer]:
    with EcoTaxaServer() as server:
        yield server


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits, which take no time."""
    waits: list[float] = []
    monkeypatch.setattr(module.time, "sleep", lambda seconds: waits.append(seconds) if seconds else None)
    return waits


def client_of(server: EcoTaxaServer, token: str | None = TOKEN, pause_s: float = 0) -> EcoTaxaClient:
    return EcoTaxaClient(server.url, SecretStr(token) if token else None, pace=Pace(pause_s=pause_s))


def test_the_token_goes_with_every_request_however_it_was_copied(server: EcoTaxaServer) -> None:
    with client_of(server, f' "{TOKEN}"\n') as client:
        assert client.get("projects/42")["title"] == "Villefranche"
    assert server.tokens == [f"Bearer {TOKEN}"]


def test_there_is_a_pause_between_requests(server: EcoTaxaServer, slept: list[float]) -> None:
    with client_of(server, pause_s=0.1) as client:
        client.get("projects/42")
        client.image("0123/0001.jpg")
    assert slept == [0.1, 0.1]


def test_waits_grow_and_are_told(server: EcoTaxaServer, slept: list[float]) -> None:
    server.faults = [Fault("projects", status=503), Fault("projects", cut=3), Fault("projects", status=500)]
    told: list[str] = []
    with EcoTaxaClient(server.url, SecretStr(TOKEN), pace=Pace(pause_s=0), on_wait=told.append) as client:
        client.get("projects/42")
    assert slept == [2, 4, 8]
    assert [line.rpartition(" Asking")[2] for line in told] == [f" again in {wait} s." for wait in (2, 4, 8)]
    assert "503" in told[0]
    assert "broke off" in told[1]


def test_retry_after_is_honoured_in_seconds_and_as_a_date(server: EcoTaxaServer, slept: list[float]) -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=120), usegmt=True)
    server.faults = [
        Fault("projects", status=429, headers={"Retry-After": "17"}),
        Fault("projects", status=503, headers={"Retry-After": later}),
        Fault("projects", status=429, headers={"Retry-After": "soon"}),
    ]
    with client_of(server) as client:
        client.get("projects/42")
    assert slept[0] == 17
    assert 60 < slept[1] <= 120
    assert slept[2] == 8


def test_who_is_asked_to_wait_for_hours_is_told_so_at_once(server: EcoTaxaServer, slept: list[float]) -> None:
    server.faults = [Fault("projects", status=429, headers={"Retry-After": "7200"})]
    with client_of(server) as client, pytest.raises(EcoTaxaDownError, match=r"429.*asks to wait 7200 s"):
        client.get("projects/42")
    assert slept == []


def test_a_change_is_sent_once(server: EcoTaxaServer, slept: list[float]) -> None:
    server.faults = [Fault("file_import", status=500)]
    with client_of(server) as client, pytest.raises(EcoTaxaError, match="500"):
        client.change("file_import/42", {})
    assert server.asked == ["/api/file_import/42"]
    assert slept == []


@pytest.mark.parametrize(
    ("status", "token", "kind", "told"),
    [
        (401, TOKEN, EcoTaxaAuthError, "Set PLANKSEG_ECOTAXA_TOKEN to a new token"),
        (403, None, EcoTaxaAuthError, "Set PLANKSEG_ECOTAXA_TOKEN"),
        (403, TOKEN, EcoTaxaAuthError, "Ask a manager of the project"),
        (404, TOKEN, EcoTaxaError, "Check the number of the project"),
        (422, TOKEN, EcoTaxaError, "422"),
    ],
)
def test_a_refusal_is_not_repeated_and_names_the_cure(
    server: EcoTaxaServer, status: int, token: str | None, kind: type[Exception], told: str
) -> None:
    server.faults = [Fault("projects", status=status, body=f'{{"detail": "no {TOKEN}"}}'.encode())]
    with client_of(server, token) as client, pytest.raises(kind, match=told) as caught:
        client.get("projects/42")
    assert len(server.asked) == 1
    assert token is None or TOKEN not in str(caught.value)


def test_a_page_instead_of_json_and_a_redirect_are_told(server: EcoTaxaServer) -> None:
    server.faults = [
        Fault("projects", body=b"<html>Maintenance</html>"),
        Fault("projects", status=301, headers={"Location": "https://elsewhere.example"}),
    ]
    with client_of(server) as client:
        with pytest.raises(EcoTaxaError, match=r"no JSON: <html>Maintenance.*PLANKSEG_ECOTAXA_URL"):
            client.get("projects/42")
        with pytest.raises(EcoTaxaError, match=r"leads to https://elsewhere\.example"):
            client.get("projects/42")


def test_a_server_that_is_not_there_is_told(slept: list[float]) -> None:
    with EcoTaxaServer() as gone:
        url = gone.url
    with EcoTaxaClient(url, pace=Pace(pause_s=0)) as client, pytest.raises(EcoTaxaDownError, match="did not answer"):
        client.get("projects/42")
    assert slept == [2, 4, 8, 16]


@pytest.mark.parametrize(
    "url", ["ecotaxa.obs-vlfr.fr", "ftp://a", "https://user:word@a", "https://a?b", "https://[", ""]
)
def test_what_is_no_address_of_a_server_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="PLANKSEG_ECOTAXA_URL"):
        EcoTaxaClient(url)


def test_the_token_is_not_sent_in_clear_to_another_machine_and_must_be_one() -> None:
    with pytest.raises(SettingsError, match="anybody on the way could read the token"):
        EcoTaxaClient("http://ecotaxa.example", SecretStr(TOKEN))
    with pytest.raises(SettingsError, match="copy it again"):
        EcoTaxaClient("https://ecotaxa.example", SecretStr("tok\nen"))
    assert EcoTaxaClient("https://ecotaxa.example/api/").url == "https://ecotaxa.example"
