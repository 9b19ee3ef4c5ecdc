"""The command line: one clear line for what is wrong, JSON for scripts, and nothing heavy for a glance."""

import io
import json
import os
import re
import subprocess
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from plankseg import cli, local_servers
from plankseg.cli import servers
from plankseg.cli.demo import directory_for
from plankseg.config import Recipe, settings
from plankseg.errors import ModelError, SettingsError, StoreError
from plankseg.pipeline.ingest.register_images import ingest_folder
from plankseg.pipeline.reports.effort_plot import COLUMNS
from plankseg.pipeline.reports.status import RoundStatus
from plankseg.storage.store import Store
from plankseg.storage.tables.models import ModelRow
from tests.support.little_store import write_images
from tests.support.s3_servers import S3Server

pytestmark = pytest.mark.slow

HEAVY = ("torch", "lightning", "cv2", "label_studio_sdk", "segmentation_models_pytorch", "albumentations", "prefect")


def run(*arguments: str, store: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `plankseg` as a person does, in a folder without a .env file."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PLANKSEG_")}
    return subprocess.run(
        [sys.executable, "-m", "plankseg.cli", *arguments],
        env=environment | {"PLANKSEG_STORE": str(store), **variables},
        cwd=store.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An empty store that the settings of this process name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PLANKSEG_STORE", str(tmp_path / "store"))
    settings.cache_clear()
    yield Store.open(tmp_path / "store")
    settings.cache_clear()


def add_model(store: Store, reason: str, *, round_number: int = 0, promoted: bool = True) -> None:
    store.models.commit(
        ModelRow(
            model_id=store.models.put_weights(reason.encode()),
            round=round_number,
            recipe=Recipe().model_dump_json(),
            data_version=0,
            side_px=256,
            epochs=20,
            metrics="{}",
            promoted=promoted,
            reason=reason,
            validation_dice=0.8125,
            validation_set="validation set (3 images)",
        )
    )


def test_without_a_store_there_is_one_clear_line_and_none_is_made(tmp_path: Path) -> None:
    nowhere = tmp_path / "a rather long name of a folder [with brackets] in which there is no store at all"
    for made in (False, True):
        if made:
            nowhere.mkdir()
        done = run("status", "--json", store=nowhere)
        assert (done.returncode, done.stdout) == (1, "")
        (line,) = done.stderr.splitlines()
        advice = "Name one by --store or PLANKSEG_STORE, or run `make demo`."
        assert line == f"Error: There is no store at {nowhere}. {advice}"
    assert list(nowhere.iterdir()) == []


def test_a_variable_that_cannot_be_used_is_one_clear_line(tmp_path: Path) -> None:
    done = run("status", store=tmp_path / "store", PLANKSEG_MAX_IMAGE_PIXELS="many")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: PLANKSEG_MAX_IMAGE_PIXELS='many' cannot be used")


def test_a_glance_at_the_status_loads_nothing_heavy(store: Store, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom plankseg.cli import app\nsys.argv = ['plankseg', 'status', '--json']\n"
        "try:\n    app()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        f"print('HEAVY', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    text, _, heavy = done.stdout.partition("HEAVY ")
    assert heavy.strip() == "[]"
    assert json.loads(text)["images"] == {"source": 0, "pool": 0, "validation": 0}


def test_the_report_loads_no_network(store: Store, tmp_path: Path) -> None:
    add_model(store, "the first model")
    code = (
        "import sys\nfrom plankseg.cli import app\nsys.argv = ['plankseg', 'report', 'report.html']\n"
        "try:\n    app()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "print('HEAVY', [name for name in ('torch', 'lightning', 'timm') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.partition("HEAVY ")[2].strip() == "[]"
    assert (tmp_path / "report.html").exists()


def test_status_as_json_is_one_object(store: Store) -> None:
    add_model(store, "the first model")
    done = CliRunner().invoke(cli.app, ["status", "--json"])
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert set(found) == {
        "store",
        "images",
        "validation",
        "models",
        "decisions",
        "rounds",
        "effort",
        "anchoring",
        "next",
    }
    assert found["models"][0]["validation_dice"] == 0.8125


def test_status_for_people_shows_what_the_tables_hold_and_takes_nothing_for_markup(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    add_model(store, "Dice +0.1 [low] and [/nothing]")
    monkeypatch.setattr(import_module("plankseg.cli.status_tables"), "console", Console(width=200))
    cli.status()
    output = capsys.readouterr().out
    assert "Dice +0.1 [low] and [/nothing]" in output
    assert "0.812" in output
    assert "Images: 0 source, 0 pool, 0 validation" in output
    assert f"Store {store.root}" in output


def test_the_table_of_rounds_fits_80_columns_whatever_was_answered() -> None:
    counts = dict.fromkeys(("drawn", "empty", "skipped", "unusable", "quarantined"), 11)
    full = RoundStatus(
        round=12,
        proposed=100,
        answered=100,
        accepted=20,
        corrected=25,
        redrawn=19,
        compared=98,
        seconds=12345.6,
        model=None,
        **counts,
    )
    plain = full.model_copy(update=dict.fromkeys(counts, 0))
    for rounds in ([full, plain], [plain]):
        out = Console(width=80, file=io.StringIO())
        out.print(import_module("plankseg.cli.status_tables")._rounds_table(SimpleNamespace(rounds=rounds)))
        shown = out.file.getvalue()
        assert "…" not in shown
        assert "19/98" in shown
        assert ("11 unusable" in " ".join(shown.split())) == (full in rounds)


def test_a_table_with_every_column_of_effort_fits_80_columns_and_cuts_no_word() -> None:
    cells = ["12", "with pre-mask", "19/100", "0.912", "1,234", "123,456", "123", "12", "123.4", "1,234"]
    table = import_module("plankseg.cli.status_tables")._table_of("Effort", COLUMNS, [cells, cells], left={"asked"})
    out = Console(width=80, file=io.StringIO())
    out.print(table)
    assert "…" not in out.file.getvalue()
    assert {word for cell in cells for word in cell.split()} <= set(out.file.getvalue().split())


def test_doctor_looks_where_up_served_cuts_nothing_off_and_makes_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("PREFECT_API_URL", "PLANKSEG_STORE", "PLANKSEG_LABEL_STUDIO_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "environ", os.environ.copy())  # what the command sets is gone after it
    nothing = CliRunner().invoke(cli.app, ["doctor", "--directory", "gone"])
    assert "is no working directory" in str(nothing.exception)
    assert list(tmp_path.iterdir()) == []
    free = local_servers.free_port()
    served = local_servers.ServerSettings(tmp_path / "demo", free, free, free, free)
    local_servers.ensure_credentials(served.directory)
    local_servers.remember_ports(served)
    monkeypatch.setattr(servers, "console", Console(width=80, file=io.StringIO()))
    done = CliRunner().invoke(cli.app, ["doctor"])
    shown = " ".join(servers.console.file.getvalue().split())
    assert done.exit_code == 1
    assert f"broken Prefect nobody answers at http://127.0.0.1:{free}/api" in shown
    assert "…" not in shown
    assert "Broken: Prefect, Label Studio, webhook relay, assistant. Do what stands behind the arrow" in shown
    settings.cache_clear()


def test_a_person_removes_and_restores_an_image_by_path_or_id(store: Store, tmp_path: Path) -> None:
    ingest_folder(store, write_images(tmp_path / "pool", range(3)), role="pool")
    runner, image_id = CliRunner(), store.catalogue.ids("pool")[0]
    path = str(store.catalogue.path(image_id))
    assert "1 of 1 images removed" in runner.invoke(cli.app, ["remove", path, "--reason", "a thumb"]).stdout
    assert "0 of 1 images removed" in runner.invoke(cli.app, ["remove", image_id[:9]]).stdout
    assert store.exclusions.current()[image_id].reason == "a thumb"
    assert store.catalogue.counts()["pool"] == 2
    assert "1 of 1 images included" in runner.invoke(cli.app, ["restore", image_id]).stdout
    assert isinstance(runner.invoke(cli.app, ["remove", "no-such.png"]).exception, SettingsError)
    assert "1 of 1 images removed" in runner.invoke(cli.app, ["remove", Path(path).name]).stdout
    assert "1 of 1 images included" in runner.invoke(cli.app, ["restore", Path(path).as_uri()]).stdout


def test_the_option_names_a_store_above_the_environment(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Store.open(tmp_path / "other")
    ingest_folder(other, write_images(tmp_path / "pool", range(3)), role="pool")
    runner = CliRunner()
    assert "0 pool" in runner.invoke(cli.app, ["status"]).stdout
    for arguments in (["status", "--store"], ["--store"]):
        monkeypatch.setenv("PLANKSEG_STORE", str(store.root))  # the command before set it for its own process
        settings.cache_clear()
        command = [*arguments, str(tmp_path / "other"), *(["status"] if arguments == ["--store"] else [])]
        assert "3 pool" in runner.invoke(cli.app, command).stdout, command


def test_help_calls_kinds_of_values_by_words() -> None:
    seen = CliRunner().invoke(cli.app, ["--help"]).stdout
    for command in (*cli.READING, *cli.WRITING, *cli.SERVING, *cli.OF_THEIR_OWN_STORE):
        seen += CliRunner().invoke(cli.app, [command.__name__.replace("_", "-"), "--help"]).stdout
    assert "NUMBER" in seen
    assert re.findall(r"<bool>|<str>|<path>|list\[|int range|float range", seen) == []


def test_the_version_is_that_of_the_package() -> None:
    found = CliRunner().invoke(cli.app, ["--version"])
    assert (found.exit_code, found.stdout.strip()) == (0, f"plankseg {version('plankseg')}")


def test_every_command_that_works_on_a_store_takes_its_place() -> None:
    for command in (*cli.READING, *cli.WRITING, *cli.SERVING, cli.predict):
        name = command.__name__.replace("_", "-")
        assert "--store" in CliRunner().invoke(cli.app, [name, "--help"], env={"COLUMNS": "200"}).stdout, name


def test_a_person_promotes_and_rolls_back_and_reads_the_reason_in_the_status(store: Store) -> None:
    add_model(store, "the first model")
    add_model(store, "worse than model 0", round_number=1, promoted=False)
    runner = CliRunner()
    done = runner.invoke(cli.app, ["promote", "model", "1", "--reason", "I like it"])
    assert re.fullmatch(r"Model 1 \(\w{8}\) is in use\.\n", done.stdout)
    assert "already" in runner.invoke(cli.app, ["promote", "1"]).stdout
    done = runner.invoke(cli.app, ["rollback", "--reason", "it drew ghosts"])
    output = r"Model 1 \(\w{8}\) is taken out of use, model 0 \(\w{8}\) is in use again\.\n"
    assert re.fullmatch(output, done.stdout)
    shown = " ".join(runner.invoke(cli.app, ["status"]).stdout.split())
    assert "is in use. Last decision: model 0 put back into use by a person: it drew ghosts." in shown
    assert isinstance(runner.invoke(cli.app, ["rollback"]).exception, ModelError)


def test_an_error_of_ours_is_printed_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails() -> None:
        raise SettingsError("the list ['a', 'b'] and [/tmp] " + "and more " * 20)

    monkeypatch.setattr(cli, "app", fails)
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("Error: the list ['a', 'b'] and [/tmp] and more")


def test_help_names_every_command() -> None:
    done = CliRunner().invoke(cli.app, ["--help"])
    assert done.exit_code == 0
    for name in ("status", "promote", "rollback", "doctor", "demo", "up"):
        assert re.search(rf"\b{name}\b", done.stdout)


@pytest.mark.parametrize("arguments", [["--source", "."], ["--source", "nowhere", "--pool", "."]])
def test_a_demo_on_folders_that_cannot_work_starts_nothing(arguments: list[str], tmp_path: Path) -> None:
    done = CliRunner().invoke(cli.app, ["demo", "--directory", str(tmp_path / "demo"), *arguments])
    assert isinstance(done.exception, SettingsError)
    assert not (tmp_path / "demo").exists()


def test_what_a_demo_on_other_folders_left_is_moved_aside_whole(tmp_path: Path) -> None:
    work = directory_for(tmp_path / "demo", {"source": "a", "pool": "b"})
    (work / "store").mkdir()
    (work / "store" / "answer").write_text("a person's mask")
    assert directory_for(work, {"source": "a", "pool": "b"}) == work
    assert (work / "store" / "answer").exists(), "the same folders go on where they were"
    directory_for(work, {})
    assert not (work / "store").exists()
    aside = [path for path in tmp_path.iterdir() if path != work]
    assert [(path / "store" / "answer").read_text() for path in aside] == ["a person's mask"]


def test_up_serves_the_bucket_that_plankseg_store_names_and_no_other_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, s3_server: S3Server
) -> None:
    started: list[dict[str, str]] = []
    monkeypatch.setattr(os, "execve", lambda program, command, environment: started.append(environment))
    monkeypatch.chdir(tmp_path)
    ports = [
        f"{name}={local_servers.free_port()}" for name in ("--prefect-port", "--label-studio-port", "--relay-port")
    ]

    def up(store: str) -> Result:
        monkeypatch.setenv("PLANKSEG_STORE", store)
        settings.cache_clear()
        return CliRunner().invoke(cli.app, ["up", f"--directory={tmp_path / 'work'}", *ports])

    try:
        location = f"s3://{s3_server.new_bucket()}/store"
        assert up(location).exit_code == 0
        assert started.pop()["PLANKSEG_STORE"] == location
        assert up("elsewhere").exit_code == 0
        assert started.pop()["PLANKSEG_STORE"] == str(tmp_path / "work" / "store")
        refused = up("s3://never-made-bucket/store")
        assert isinstance(refused.exception, StoreError)
        assert "make it, or correct the address" in str(refused.exception)
        assert started == []
    finally:
        settings.cache_clear()


@pytest.mark.parametrize("is_terminal", [True, False])
def test_log_ins_are_for_a_person_at_a_terminal_alone(
    is_terminal: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[dict[str, str]] = []
    monkeypatch.setattr(os, "execve", lambda program, command, environment: started.append(environment))
    monkeypatch.setattr(local_servers, "require_free", lambda *_, **__: None)
    monkeypatch.setattr(servers, "console", Console(file=io.StringIO(), force_terminal=is_terminal, width=90))
    monkeypatch.setenv("PLANKSEG_STORE", str(tmp_path / "store"))
    assert CliRunner().invoke(cli.app, ["up", "--directory", str(tmp_path / "work")]).exit_code == 0
    assert started.pop().get(local_servers.UP_AT_TERMINAL) == ("90" if is_terminal else None)


def test_up_and_demo_let_nobody_else_read_what_they_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    masks: list[int] = []
    monkeypatch.setattr(os, "umask", masks.append)
    monkeypatch.setattr(local_servers, "holding", lambda directory: 1 / 0)  # far enough
    monkeypatch.setattr(local_servers, "require_free", lambda *_, **__: None)
    for command in ("up", "demo"):
        CliRunner().invoke(cli.app, [command, "--directory", str(tmp_path / command)])
    assert masks == [0o077, 0o077]
