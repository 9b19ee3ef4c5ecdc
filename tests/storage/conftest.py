"""Where the storage tests keep their stores: a folder in the everyday check, a bucket as well in the whole suite."""

from pathlib import Path

import pytest
from buckets import S3Server


@pytest.fixture(params=["folder", pytest.param("bucket", marks=pytest.mark.slow)])
def root(request: pytest.FixtureRequest) -> str:
    """An empty place for a store: a folder's path, or an address in a bucket."""
    path: Path = request.getfixturevalue("tmp_path")
    if request.param == "folder":
        return str(path)
    request.getfixturevalue("monkeypatch").setenv("PLANKSEG_WORK", str(path))
    server: S3Server = request.getfixturevalue("s3_server")
    return f"s3://{server.new_bucket()}/deep/store"
