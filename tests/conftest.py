"""What all tests share: array shapes checked while testing, real servers, and real images."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

from tests.support import ceph
from tests.support.live_servers import LiveLabelStudio
from tests.support.s3_servers import S3Server, moto, named_by_environment

install_import_hook(
    ["plankseg.imaging", "plankseg.learning", "plankseg.inference", "plankseg.acquisition"], "beartype.beartype"
)

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
os.environ["DO_NOT_TRACK"] = "1"
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"

from plankseg import local_servers  # noqa: E402  (after the import hook)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="do not even import modules that are slow or live as a whole")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Under --quick, leave out whole modules by their mark: Lightning alone takes ten seconds to import."""
    if not config.getoption("--quick") or not collection_path.name.startswith("test_"):
        return None
    marks = re.search(r"^pytestmark = .*$", collection_path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return True if marks and re.search(r"mark\.(slow|live)\b", marks[0]) else None


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real images, or a skip that says how to have it."""
    folder = os.environ.get("PLANKSEG_REAL_DATA")
    if not folder:
        pytest.skip("PLANKSEG_REAL_DATA is not set: no real images to test with")
    path = Path(folder)
    assert path.is_dir(), f"PLANKSEG_REAL_DATA={folder} is not a folder"
    return path


@pytest.fixture(scope="session")
def server_settings(tmp_path_factory: pytest.TempPathFactory) -> local_servers.ServerSettings:
    """A working directory and ports for the servers of this test run."""
    return local_servers.ServerSettings(
        tmp_path_factory.mktemp("servers"), local_servers.free_port(), local_servers.free_port()
    )


@pytest.fixture(scope="session")
def label_studio(server_settings: local_servers.ServerSettings) -> Iterator[LiveLabelStudio]:
    """A real Label Studio server, started for this test run and stopped after it."""
    credentials = local_servers.ensure_credentials(server_settings.directory)
    with local_servers.start_label_studio(server_settings) as server:
        server.wait()
        yield LiveLabelStudio(
            server_settings.label_studio_url, credentials.token, credentials.email, credentials.password
        )


@pytest.fixture(scope="session")
def prefect_server(server_settings: local_servers.ServerSettings) -> Iterator[local_servers.Server]:
    """A real Prefect server, started for this test run and stopped after it."""
    with local_servers.start_prefect(server_settings) as server:
        server.wait()
        yield server


@pytest.fixture(scope="session")
def radosgw_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A Ceph object gateway, which checks credentials, or a skip that says how to have it."""
    if lacking := ceph.missing():
        pytest.skip(f"{', '.join(lacking)} not found: run tests/install-radosgw.sh as root")
    with ceph.radosgw(tmp_path_factory.mktemp("ceph")) as server:
        yield server


@pytest.fixture(scope="session")
def moto_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """An S3 server in memory, for this test run."""
    with moto(tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture
def s3_server(moto_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """An S3 server that plankseg finds by its environment; the tests of storage have each of two in turn."""
    yield from named_by_environment(moto_server, monkeypatch)


@pytest.fixture
def strict_server(radosgw_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """The same, but one that checks credentials."""
    yield from named_by_environment(radosgw_server, monkeypatch)
