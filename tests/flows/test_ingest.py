"""The flow of ingest, with a real Prefect server: progress, the table of left-out files, a cut-off archive."""

from pathlib import Path

import pytest
from packing import jpeg, tar_of
from prefect.client.orchestration import get_client
from prefect.testing.utilities import prefect_test_harness

from flows.ingest import ImageFolder, ingest
from plankseg.config import settings
from plankseg.errors import ArchiveError
from plankseg.storage.store import Store

pytestmark = pytest.mark.slow


def test_a_cut_off_tar_fails_after_all_that_was_whole_is_kept_and_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLANKSEG_STORE", str(tmp_path / "store"))
    settings.cache_clear()
    files = {f"imgs/Egg/{n}.jpg": jpeg(n) for n in range(3)} | {"imgs/Egg/bad.jpg": b"none"}
    archive = tmp_path / "a.tar"
    images = ImageFolder(folder=str(archive), role="pool")
    archive.write_bytes(tar_of(files | {"imgs/Egg/9.jpg": jpeg(9)})[: len(tar_of(files).rstrip(b"\0")) + 900])
    try:
        with prefect_test_harness(server_startup_timeout=120):
            with pytest.raises(ArchiveError, match="cut off or damaged after"):
                ingest(images)
            archive.write_bytes(tar_of(files | {"imgs/Egg/9.jpg": jpeg(9)}))
            assert ingest(images).startswith("pool: 1 new images, 3 known")
            with get_client(sync_client=True) as client:
                artifacts = {found.key: found for found in client.read_artifacts()}
    finally:
        settings.cache_clear()
    assert len(Store.open(tmp_path / "store").catalogue.ids("pool")) == 4
    shown = artifacts["ingest-pool"]
    assert "bad.jpg" in str(shown.data)
    assert ".csv" in str(shown.description)
    assert "100" in str(artifacts["ingest-pool-progress"].data)
