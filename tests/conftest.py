"""What all tests share: array shapes checked while testing, real servers, real images, and a bound on memory."""

import os
import re
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from jaxtyping import install_import_hook

from tests.support import ceph, resident_memory
from tests.support.live_servers import LiveLabelStudio, LivePrefect, servers
from tests.support.s3_servers import S3Server, moto, named_by_environment
from tests.support.subprocess_flow import end_preloaded

install_import_hook(
    ["plankseg.imaging", "plankseg.learning", "plankseg.inference", "plankseg.acquisition"], "beartype.beartype"
)

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
os.environ["DO_NOT_TRACK"] = "1"
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
CACHE = None if "PLANKSEG_WORK" in os.environ else tempfile.mkdtemp(prefix="plankseg-tests-")
"""In the place of the user's cache, for all worker processes; None: a process that began before this one made it."""
if CACHE is not None:
    os.environ["PLANKSEG_WORK"] = CACHE

from plankseg import local_servers  # noqa: E402  (after the import hook)

TOO_MUCH_MEMORY = 6
"""Exit status of its own, so that no failed test that passes alone hides it (tests/failed-again.sh)."""

SLOWEST_FIRST = (
    "tests/flows/test_advance_with_faults.py",
    "tests/flows/test_segment.py",
    "tests/flows/test_four_rounds_live.py",
    "tests/browser/test_loop.py",
    "tests/flows/test_killed_learning.py",
    "tests/flows/test_killed_proposing.py",
    "tests/flows/test_dask.py",
    "tests/flows/test_compare.py",
    "tests/flows/test_demo.py",
    "tests/flows/test_up.py",
    "tests/browser/test_clicking.py",
    "tests/browser/test_correcting.py",
    "tests/flows/test_four_rounds.py",
    "tests/flows/test_propose.py",
)


@pytest.fixture(autouse=True)
def seeded_torch(request: pytest.FixtureRequest) -> None:
    """A network that a test builds at random is the same in every run: none fails once in a hundred times."""
    if torch := sys.modules.get("torch"):
        torch.manual_seed(zlib.crc32(request.node.nodeid.encode()))


def pytest_unconfigure() -> None:
    """Remove the cache of the tests, in the process that made it."""
    if CACHE is not None:
        shutil.rmtree(CACHE, ignore_errors=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="do not even import modules that are slow or live as a whole")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Under --quick, leave out whole modules by their mark: Lightning alone takes ten seconds to import."""
    if not config.getoption("--quick") or not collection_path.name.startswith("test_"):
        return None
    marks = re.search(r"^pytestmark = .*$", collection_path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return True if marks and re.search(r"mark\.(slow|live)\b", marks[0]) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest modules begin first, so that two workers end alike.

    Tests of a module share servers and stores: with xdist, `--dist loadfile` keeps them on one worker (`loadgroup` no
    longer does, since pytest 9.2: issue 1386 of pytest-xdist), and `--no-loadscope-reorder` keeps this order.
    """
    rank = {name: number for number, name in enumerate(SLOWEST_FIRST)}
    items.sort(key=lambda item: rank.get(module_of(item), len(rank)))


def module_of(item: pytest.Item) -> str:
    """The path of a test's file, from the root of the repository."""
    return item.nodeid.split("::")[0]


# --- memory ---------------------------------------------------------------------------------------------------------


def pytest_runtest_logfinish() -> None:
    """After a test that took much: networks, compiled models and their arrays would otherwise stay to the end."""
    resident_memory.give_back_if_grown()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """End what this process started; a process that took more memory than it may fails the run."""
    end_preloaded()
    servers.end()
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["peak_mb"] = resident_memory.peak_mb()
        return
    peaks["this process"] = resident_memory.peak_mb()
    if max(peaks.values()) > resident_memory.BOUND_MB and session.exitstatus in (0, 1):
        session.exitstatus = TOO_MUCH_MEMORY


peaks: dict[str, int] = {}


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """What a worker of xdist says at its end."""
    peaks[node.gateway.id] = getattr(node, "workeroutput", {}).get("peak_mb", 0)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The peak of every process that ran tests."""
    summary = ", ".join(f"{name} {peak} MB" for name, peak in sorted(peaks.items()))
    too_much = any(peak > resident_memory.BOUND_MB for peak in peaks.values())
    terminalreporter.write_line(
        f"Most memory resident: {summary}; the bound is {resident_memory.BOUND_MB} MB.", red=too_much
    )


# --- images and servers ---------------------------------------------------------------------------------------------


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
def of_all_workers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the workers of this test run have in common."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "servers"


@pytest.fixture(scope="session")
def server_settings(of_all_workers: Path) -> local_servers.ServerSettings:
    """A working directory, a log-in and ports for the servers of this test run."""

    @contextmanager
    def choose(folder: Path) -> Iterator[dict[str, Any]]:
        local_servers.ensure_credentials(folder)
        yield {"prefect_port": local_servers.free_port(), "label_studio_port": local_servers.free_port()}

    folder = of_all_workers / "settings"
    return local_servers.ServerSettings(folder, **servers.use(folder, choose))


@pytest.fixture(scope="session")
def label_studio(of_all_workers: Path, server_settings: local_servers.ServerSettings) -> LiveLabelStudio:
    """A real Label Studio server, started once for this test run and stopped after it."""

    @contextmanager
    def start(_: Path) -> Iterator[dict[str, Any]]:
        log_in = local_servers.ensure_credentials(server_settings.directory)
        with local_servers.start_label_studio(server_settings) as server:
            server.wait()
            at = server_settings.label_studio_url
            yield asdict(LiveLabelStudio(at, log_in.token, log_in.email, log_in.password))

    return LiveLabelStudio(**servers.use(of_all_workers / "label-studio", start))


@pytest.fixture(scope="session")
def prefect_server(of_all_workers: Path, server_settings: local_servers.ServerSettings) -> LivePrefect:
    """A real Prefect server, started once for this test run and stopped after it."""

    @contextmanager
    def start(_: Path) -> Iterator[dict[str, Any]]:
        with local_servers.start_prefect(server_settings) as server:
            server.wait()
            yield asdict(LivePrefect(server_settings.prefect_url, server.process.pid))

    return LivePrefect(**servers.use(of_all_workers / "prefect", start))


@pytest.fixture(scope="session")
def radosgw_server(of_all_workers: Path) -> S3Server:
    """A Ceph object gateway, which checks credentials, or a skip that says how to have it."""
    if lacking := ceph.missing():
        pytest.skip(f"{', '.join(lacking)} not found: run tests/install-radosgw.sh as root")

    @contextmanager
    def start(folder: Path) -> Iterator[dict[str, Any]]:
        with ceph.radosgw(folder) as server:
            yield asdict(server)

    return S3Server(**servers.use(of_all_workers / "ceph", start))


@pytest.fixture(scope="session")
def moto_server(of_all_workers: Path) -> S3Server:
    """An S3 server in memory, for this test run."""

    @contextmanager
    def start(folder: Path) -> Iterator[dict[str, Any]]:
        with moto(folder) as server:
            yield asdict(server)

    return S3Server(**servers.use(of_all_workers / "moto", start))


@pytest.fixture
def s3_server(moto_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """An S3 server that plankseg finds by its environment; the tests of storage have each of two in turn."""
    yield from named_by_environment(moto_server, monkeypatch)


@pytest.fixture
def strict_server(radosgw_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """The same, but one that checks credentials."""
    yield from named_by_environment(radosgw_server, monkeypatch)
