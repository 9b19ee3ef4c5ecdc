"""What `plankseg up` says while its servers start, and when they are ready."""

import io
import os
import subprocess
from pathlib import Path

import pytest
from rich.console import Console

from plankseg.cli.readiness import box, served_by, wait_until_ready
from plankseg.local_servers import ROOT, ServerSettings, ensure_credentials


def printed(width: int = 80) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, width=width, markup=False), out


def test_the_servers_addresses_come_by_the_environment(tmp_path: Path) -> None:
    served = ServerSettings(tmp_path, 1, 2, 3, 4)
    assert served_by(served.environment()) == served
    in_a_bucket = ServerSettings(tmp_path, 1, 2, 3, 4, bucket="s3://bucket/prefix")
    assert served_by(in_a_bucket.environment()) == in_a_bucket


@pytest.mark.parametrize("with_log_ins", [True, False])
def test_the_box_says_where_everything_is_and_log_ins_to_a_person_alone(with_log_ins: bool, tmp_path: Path) -> None:
    served, (console, out) = ServerSettings(tmp_path / "a [folder]", 4200, 8080), printed(200)
    credentials = ensure_credentials(served.directory)
    console.print(box(served, credentials, with_log_ins=with_log_ins))
    shown = out.getvalue()
    for text in (
        "─ ready ─",
        served.prefect_url,
        served.label_studio_url,
        str(served.directory / "logs"),
        "credentials.env",
    ):
        assert text in shown
    assert served.store_location in shown
    for secret in (credentials.password, credentials.prefect_login):
        assert (secret in shown) is with_log_ins
    assert credentials.token not in shown


def test_the_box_fits_80_columns_and_breaks_no_word_but_a_long_path(tmp_path: Path) -> None:
    served = ServerSettings(tmp_path / "plankton of the Bay of Villefranche" / "demo", 52341, 40689)
    console, out = printed(80)
    console.print(box(served, ensure_credentials(served.directory), with_log_ins=True))
    lines = out.getvalue().splitlines()
    assert {len(line) for line in lines} == {80}
    shown = [line.strip("│ ") for line in lines]
    assert "(only your user account can read it)" in shown
    assert "First time? Open Prefect, Deployments, ingest, Run, Custom run." in shown


def test_a_part_that_is_ready_is_named_once_and_the_wait_ends_with_the_last() -> None:
    console, out = printed()
    looks = iter([False, False, True])
    wait_until_ready({"one part": lambda: True, "another": lambda: next(looks)}, console)
    assert [line.split(" is ready")[0].strip() for line in out.getvalue().splitlines()] == ["one part", "another"]


def test_what_a_server_says_goes_to_its_log_and_the_end_of_it_is_shown_if_it_fails(tmp_path: Path) -> None:
    def run(*command: str) -> subprocess.CompletedProcess[str]:
        script = ["bash", str(ROOT / "deployments" / "logged.sh"), "name", *command]
        at = os.environ | {"PLANKSEG_DIR": str(tmp_path)}
        return subprocess.run(script, env=at, capture_output=True, text=True, check=False)

    fine = run("sh", "-c", "echo first; sleep 0")
    assert (tmp_path / "logs" / "name.log").read_text() == "first\n"
    failed = run("sh", "-c", "echo a reason >&2; exit 7")
    assert failed.returncode == 7
    assert "exit status 7" in failed.stdout
    assert "a reason" in failed.stdout
    assert (tmp_path / "logs" / "name.log.before").read_text() == "first\n"
    assert (tmp_path / "logs" / "name.log").stat().st_mode & 0o077 == 0
    assert fine.returncode == 0
