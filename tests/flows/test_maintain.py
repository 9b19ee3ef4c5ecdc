"""The flow that tidies the store, with a real Prefect server: a dry run lists, the real one does it, and says so."""

from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.testing.utilities import prefect_test_harness
from pydantic import ValidationError

from flows.maintain import Upkeep, maintain
from plankseg.config import settings
from plankseg.storage.proposals import ProposalRow
from plankseg.storage.store import Store

pytestmark = pytest.mark.slow


def test_a_dry_run_changes_nothing_and_the_real_one_puts_files_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLANKSEG_STORE", str(tmp_path / "store"))
    settings.cache_clear()
    store, sha = Store.open(tmp_path / "store"), "0" * 64
    for number in (1, 2, 3):
        row = ProposalRow(round=number, image_id=sha, chosen=True, model_id=sha, seed=0, manifest_sha=sha)
        store.proposals.commit(number, [row])
    try:
        with prefect_test_harness(server_startup_timeout=120):
            assert maintain(Upkeep(dry_run=True)) == "Dry run: 0 old files, 0 kB would go"
            assert store.tables.version("proposals") == 3
            assert maintain() == "3 files of the tables are 1 now; 0 old files, 0 kB gone"
            with get_client(sync_client=True) as client:
                shown = [found for found in client.read_artifacts() if found.key == "maintained"]
    finally:
        settings.cache_clear()
    assert store.proposals.rounds() == [1, 2, 3]
    assert any('"files now": 1' in str(found.data) for found in shown)


def test_a_form_cannot_ask_for_less_than_a_day() -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        Upkeep(horizon_days=0)
