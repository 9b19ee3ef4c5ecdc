"""Closed streams, odd locales, a broken .env and a lost working directory give one clear line and no traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from plankseg.storage.store import Store
from tests.support.little_store import store_with

pytestmark = pytest.mark.slow
PLANKSEG = f"{sys.executable} -m plankseg.cli"


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A folder with an empty store."""
    Store.open(tmp_path / "store")
    return tmp_path


def shell(command: str, work: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command line of bash with the store of `work`."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PLANKSEG_", "LC_"))}
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        env=environment | {"PLANKSEG_STORE": str(work / "store"), "COLUMNS": "300", **variables},
        cwd=work,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=120,
    )


def assert_one_line(done: subprocess.CompletedProcess[str], words: str) -> None:
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert words in line


@pytest.mark.parametrize("command", ["status", "status --json", "report r.html"])
def test_a_closed_output_is_named(work: Path, command: str) -> None:
    assert_one_line(shell(f"{PLANKSEG} {command} >&-", work), "Standard output is closed")


def test_a_closed_output_for_errors_does_no_harm(work: Path) -> None:
    done = shell(f"{PLANKSEG} status --json 2>&-", work)
    assert (done.returncode, done.stdout[:1]) == (0, "{")
    assert shell(f"{PLANKSEG} promote 7 2>&-", work).returncode == 1


def test_a_closed_input_does_no_harm(work: Path) -> None:
    assert shell(f"{PLANKSEG} status --json <&-", work).returncode == 0


@pytest.mark.parametrize("command", ["status", "status --json"])
def test_a_reader_that_ends_first_is_named(work: Path, command: str) -> None:
    assert_one_line(shell(f"{PLANKSEG} {command} | true", work), "ended first")


ENV_FILES = {
    "latin-1": "PLANKSEG_PROJECT=Krebstierchen aus dem Öresund\n".encode("latin-1"),
    "UTF-16": "PLANKSEG_DEVICE=cpu\n".encode("utf-16"),
    "a cut character": "PLANKSEG_PROJECT=ö".encode()[:-1],
}


@pytest.mark.parametrize("content", ENV_FILES.values(), ids=ENV_FILES.keys())
def test_an_env_file_that_is_no_utf8_is_named(work: Path, content: bytes) -> None:
    (work / ".env").write_bytes(content)
    assert_one_line(shell(f"{PLANKSEG} status", work), "Save it as UTF-8")


def test_an_empty_store_variable_is_named_and_makes_none(work: Path) -> None:
    (work / "elsewhere").mkdir()
    done = shell(f"cd elsewhere && {PLANKSEG} ingest . --role pool", work, PLANKSEG_STORE="")
    assert_one_line(done, "PLANKSEG_STORE='' cannot be used")
    assert list((work / "elsewhere").iterdir()) == []


def test_a_working_directory_that_is_gone_is_named(work: Path) -> None:
    (work / "gone").mkdir()
    assert_one_line(shell(f"cd gone && rmdir ../gone && {PLANKSEG} status", work), "working directory does not exist")


def test_a_locale_without_utf8_is_named(work: Path) -> None:
    done = shell(f"{PLANKSEG} status", work, LC_ALL="C", PYTHONCOERCECLOCALE="0", PYTHONUTF8="0")
    assert_one_line(done, "LC_ALL=C.UTF-8")


@pytest.mark.parametrize("locale", ["C", "POSIX"])
def test_the_plain_locales_work(work: Path, locale: str) -> None:
    assert shell(f"{PLANKSEG} status", work, LC_ALL=locale).returncode == 0


def test_characters_that_a_terminal_does_not_have_are_escaped(work: Path) -> None:
    Store.open(work / "störe")
    done = shell(f"{PLANKSEG} status", work, PLANKSEG_STORE=str(work / "störe"), PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert "st\\xf6re" in done.stdout


IMPORTED = """
import sys
from plankseg.cli import app
try:
    app({arguments!r})
except SystemExit:
    pass
print("imported", *(name for name in {heavy!r} if name in sys.modules))
"""


def imported_by(arguments: list[str], *heavy: str) -> list[str]:
    """Which of these libraries a command loads."""
    program = IMPORTED.format(arguments=arguments, heavy=heavy)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1].split()[1:]


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["status", "--no-such-option"]])
def test_help_and_a_wrong_argument_load_no_library_of_tables_servers_or_networks(arguments: list[str]) -> None:
    assert imported_by(arguments, "numpy", "pyarrow", "deltalake", "httpx", "torch") == []


def test_status_loads_neither_pandas_nor_opencv_nor_torch(tmp_path: Path) -> None:
    store = store_with(tmp_path, source=1, pool=2, validation=2)
    found = imported_by(["status", "--store", str(store.root)], "deltalake", "pandas", "cv2", "torch", "matplotlib")
    assert found == ["deltalake"]


def test_pandas_is_there_for_who_asks_for_it_later() -> None:
    program = (
        "import sys; from plankseg.cli.environment import load_tables_without_pandas as load; load(); load();"
        "import pyarrow as pa; assert 'pandas' not in sys.modules; assert pa.table({'a': [1]}).to_pandas().a[0] == 1;"
        "import pandas as pd; assert pa.array(pd.Series([1, 2])).to_pylist() == [1, 2]"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
