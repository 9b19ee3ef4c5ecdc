"""The command `fetch-ecotaxa` on a little EcoTaxa of this machine, as a person gives it."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from plankseg import cli
from plankseg.config import settings
from plankseg.errors import EcoTaxaAuthError
from tests.support.ecotaxa_server import TOKEN, EcoTaxaServer, Fault


def test_a_project_is_fetched_with_the_token_of_the_environment_which_is_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EcoTaxaServer() as server:
        monkeypatch.setenv("PLANKSEG_ECOTAXA_URL", server.url)
        monkeypatch.setenv("PLANKSEG_ECOTAXA_TOKEN", TOKEN)
        settings.cache_clear()
        server.faults = [Fault("0123/0002", status=404)]
        result = CliRunner().invoke(cli.app, ["fetch-ecotaxa", "42", "--to", str(tmp_path / "project")])
        assert result.exit_code == 0, (result.output, result.exception)
        assert set(server.tokens) == {f"Bearer {TOKEN}"}
        monkeypatch.setenv("PLANKSEG_ECOTAXA_TOKEN", "wrong")
        settings.cache_clear()
        refused = CliRunner().invoke(cli.app, ["fetch-ecotaxa", "42", "--to", str(tmp_path / "project")])
    settings.cache_clear()
    assert "Villefranche: 7 objects, 6 images fetched now" in result.output
    assert "1 objects are left out" in result.output
    assert "wp2_2011_2: " in result.output
    assert "plankseg ingest" in result.output
    assert TOKEN not in result.output
    assert isinstance(refused.exception, EcoTaxaAuthError)
