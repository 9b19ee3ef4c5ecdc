"""The flow that tidies the store, with a real Prefect server: a dry run lists, the real one does it, and says so."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from flows.maintain import Upkeep
from plankseg import local_servers
from plankseg.storage.store import Store
from plankseg.storage.tables.proposals import ProposalRow
from tests.support.live_servers import LivePrefect
from tests.support.subprocess_flow import alone, artifacts

pytestmark = [pytest.mark.slow, pytest.mark.live]


def test_a_dry_run_changes_nothing_and_the_real_one_puts_files_together(
    server_settings: local_servers.ServerSettings, prefect_server: LivePrefect, tmp_path: Path
) -> None:
    environment = server_settings.environment() | {"PLANKSEG_STORE": str(tmp_path / "store")}
    store, sha = Store.open(tmp_path / "store"), "0" * 64
    for number in (1, 2, 3):
        row = ProposalRow(round=number, image_id=sha, chosen=True, model_id=sha, seed=0, manifest_sha=sha)
        store.proposals.commit(number, [row])
    program = "from flows.maintain import Upkeep, maintain; print(maintain(Upkeep(dry_run={})))"
    assert "Dry run: 0 old files, 0 kB would go" in alone(program.format(True), environment=environment)
    assert store.tables.version("proposals") == 3
    output = alone(program.format(False), environment=environment)
    assert "3 files of the tables are 1 now; 0 old files, 0 kB gone" in output
    assert store.proposals.rounds() == [1, 2, 3]
    assert '"files now": 1' in str(artifacts(server_settings)["maintained"]["data"])


def test_a_form_cannot_ask_for_less_than_a_day() -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        Upkeep(horizon_days=0)
