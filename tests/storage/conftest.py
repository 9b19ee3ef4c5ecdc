"""Where the storage tests keep their stores: a folder in the everyday check, in the whole suite on S3 as well.

The S3 server in memory starts anywhere. Ceph's gateway checks signatures and credentials, and orders and limits as it
likes; it is slower, so those tests have it too that are marked `every_s3_server`: credentials, leases, conditions.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from plankseg.storage.s3.client import forget_connection
from tests.support.faulty_proxy import Faults, faulty
from tests.support.s3_servers import S3Server, named_by_environment

SERVERS = [pytest.param(kind, marks=pytest.mark.slow) for kind in ("moto", "radosgw")]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what would run on Ceph's gateway without asking anything that only it answers."""

    def stays(item: pytest.Item) -> bool:
        parameters = item.callspec.id if hasattr(item, "callspec") else ""
        return not re.search(r"\bradosgw\b", parameters) or item.get_closest_marker("every_s3_server") is not None

    left_out = [item for item in items if not stays(item)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if stays(item)]


@pytest.fixture(params=SERVERS)
def s3_server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """Each S3 server in turn, found by plankseg by its environment."""
    yield from named_by_environment(request.getfixturevalue(f"{request.param}_server"), monkeypatch)


@pytest.fixture(params=["folder", *SERVERS])
def root(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty place for a store: a folder's path, or an address in a bucket of each server."""
    if request.param == "folder":
        yield str(tmp_path)
        return
    monkeypatch.setenv("PLANKSEG_WORK", str(tmp_path))
    for server in named_by_environment(request.getfixturevalue(f"{request.param}_server"), monkeypatch):
        yield f"s3://{server.new_bucket()}/deep/store"


@pytest.fixture
def faults(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Faults]:
    """The test's S3 server behind a proxy that misbehaves on demand."""
    with faulty(s3_server.url) as faults:
        monkeypatch.setenv("AWS_ENDPOINT_URL", faults.url)
        forget_connection()
        yield faults
        forget_connection()
