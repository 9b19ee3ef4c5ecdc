"""The commands `fetch-ecotaxa` and `push-ecotaxa` on a little EcoTaxa of this machine, as a person gives them."""

import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from plankseg import cli
from plankseg.archives.ecotaxa import imports
from plankseg.config import settings
from plankseg.errors import EcoTaxaAuthError
from plankseg.pipeline.archive.ecotaxa import table_bytes
from plankseg.storage.store import Store
from tests.support.ecotaxa_server import TOKEN, EcoTaxaServer, Fault


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[EcoTaxaServer]:
    monkeypatch.setattr(imports, "POLL_S", 0.0)
    with EcoTaxaServer() as server:
        monkeypatch.setenv("PLANKSEG_ECOTAXA_URL", server.url)
        monkeypatch.setenv("PLANKSEG_ECOTAXA_TOKEN", TOKEN)
        settings.cache_clear()
        yield server
    settings.cache_clear()


def run(*arguments: str, typed: str | None = None) -> Result:
    return CliRunner().invoke(cli.app, list(arguments), input=typed)


def test_a_project_is_fetched_and_ingested_as_it_is(
    server: EcoTaxaServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLANKSEG_STORE", str(tmp_path / "store"))
    settings.cache_clear()
    server.faults = [Fault("0123/0002", status=404)]
    project = str(tmp_path / "project")
    result = run("fetch-ecotaxa", "42", "--to", project)
    assert result.exit_code == 0, (result.output, result.exception)
    assert set(server.tokens) == {f"Bearer {TOKEN}"}
    assert "Villefranche: 7 objects, 6 images fetched now" in result.output
    assert "1 objects are left out" in result.output
    assert "wp2_2011_2: " in result.output
    assert f"plankseg ingest {project} --role pool" in result.output
    assert TOKEN not in result.output
    taken = run("ingest", project, "--role", "pool")
    assert taken.exit_code == 0, (taken.output, taken.exception)
    catalogue = Store.open(tmp_path / "store").catalogue
    rows = catalogue.rows(catalogue.ids("pool"))
    assert {row.external_id for row in rows} == {f"wp2_2011_{number}" for number in (0, 1, 3, 4, 5, 6)}
    assert {row.taxon for row in rows} == {"Calanoida<Copepoda"}


def test_a_wrong_token_is_refused(server: EcoTaxaServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANKSEG_ECOTAXA_TOKEN", "wrong")
    settings.cache_clear()
    result = run("fetch-ecotaxa", "42", "--to", str(tmp_path / "project"))
    assert isinstance(result.exception, EcoTaxaAuthError)


def test_measures_are_pushed_after_a_question(server: EcoTaxaServer, tmp_path: Path) -> None:
    rows = [{"object_id": f"wp2_2011_{number}", "object_area": 7.5, "process_model": "x"} for number in range(7)]
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("ecotaxa_001.tsv", table_bytes(rows))
    refused = run("push-ecotaxa", "42", str(tmp_path / "a.zip"), typed="n\n")
    assert refused.exit_code == 1
    assert "7 objects will change" in refused.output
    assert server.imports == []
    result = run("push-ecotaxa", "42", str(tmp_path / "a.zip"), typed="y\n")
    assert result.exit_code == 0, (result.output, result.exception)
    assert "Villefranche: 7 objects have these measurements now, 0 were created." in result.output
    again = run("push-ecotaxa", "42", str(tmp_path / "a.zip"))
    assert "0 objects will change, 7 have these measurements" in again.output
    assert len(server.imports) == 1


def test_nobody_pushes_without_a_token(server: EcoTaxaServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PLANKSEG_ECOTAXA_TOKEN")
    settings.cache_clear()
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("ecotaxa_001.tsv", table_bytes([{"object_id": "a", "object_area": 7.5}]))
    result = run("push-ecotaxa", "42", str(tmp_path / "a.zip"))
    assert isinstance(result.exception, EcoTaxaAuthError)
    assert server.asked == []
