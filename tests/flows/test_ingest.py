"""The flow of ingest, with a real Prefect server: progress, the table of left-out files, a cut-off archive."""

from pathlib import Path

import pytest

from plankseg import local_servers
from plankseg.storage.store import Store
from tests.support.archive_packing import jpeg, tar_of
from tests.support.live_servers import LivePrefect
from tests.support.subprocess_flow import alone, artifacts

pytestmark = [pytest.mark.slow, pytest.mark.live]


def test_a_cut_off_tar_fails_after_all_that_was_whole_is_kept_and_shown(
    server_settings: local_servers.ServerSettings, prefect_server: LivePrefect, tmp_path: Path
) -> None:
    environment = server_settings.environment() | {"PLANKSEG_STORE": str(tmp_path / "store")}
    files = {f"imgs/Egg/{n}.jpg": jpeg(n) for n in range(3)} | {"imgs/Egg/bad.jpg": b"none"}
    archive = tmp_path / "a.tar"
    program = f"from flows.ingest import *; print(ingest(ImageFolder(folder={str(archive)!r}, role='pool')))"
    archive.write_bytes(tar_of(files | {"imgs/Egg/9.jpg": jpeg(9)})[: len(tar_of(files).rstrip(b"\0")) + 900])
    output = alone(program, environment=environment, fails=True)
    assert "ArchiveError" in output
    assert "cut off or damaged after" in output
    archive.write_bytes(tar_of(files | {"imgs/Egg/9.jpg": jpeg(9)}))
    assert "pool: 1 new image, 3 known" in alone(program, environment=environment)
    assert len(Store.open(tmp_path / "store").catalogue.ids("pool")) == 4
    shown = artifacts(server_settings)
    assert "bad.jpg" in str(shown["ingest-pool"]["data"])
    assert ".csv" in str(shown["ingest-pool"]["description"])
    assert "100" in str(shown["ingest-pool-progress"]["data"])
