"""At a terminal: a bar with the pace, a summary, and where the left-out files are listed."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from plankseg.config import Settings
from plankseg.errors import ArchiveError, SettingsError, StoreBusyError
from plankseg.pipeline.ingest.terminal_ingest import IngestArguments, ingest_at_terminal
from plankseg.storage.store import Store
from tests.support.archive_packing import COMPRESS, jpeg, pack, tar_of


def run(tmp_path: Path, location: Path | str, *, role: str = "pool", layout: str = "auto") -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=200)
    try:
        settings = Settings(store=str(tmp_path / "store"))
        ingest_at_terminal(console, settings, str(location), IngestArguments(role=role, layout=layout))
    finally:
        output = out.getvalue()
        (tmp_path / "output.txt").write_text(output)
    return output


def test_a_bar_with_images_a_second_and_a_summary_are_shown(tmp_path: Path) -> None:
    output = run(tmp_path, pack("tar", tmp_path / "a", {"A/1.jpg": jpeg(1), "A/2.jpg": jpeg(2), "A/3.jpg": b"no"}))
    assert "3/3" in output
    assert "images/s" in output
    assert "pool: 2 new images" in output
    (listed,) = (tmp_path / "store" / "work" / "ingest").glob("pool-*.csv")
    assert str(listed) in output


def test_a_cut_off_archive_a_wrong_word_and_a_busy_store_are_told(tmp_path: Path) -> None:
    cut = tmp_path / "cut.tar"
    cut.write_bytes(COMPRESS["tar"](tar_of({"1.jpg": jpeg(1), "2.jpg": jpeg(2)})[:3500]))
    with pytest.raises(ArchiveError, match="what was whole is kept"):
        run(tmp_path, cut)
    assert "pool: 1 new image, " in (tmp_path / "output.txt").read_text()
    with pytest.raises(SettingsError, match="give one of source, pool, validation"):
        run(tmp_path, cut, role="sauce")
    with pytest.raises(SettingsError, match="class_folders"):
        run(tmp_path, cut, layout="tidy")
    with Store.open(tmp_path / "store").lock("advance"), pytest.raises(StoreBusyError):
        run(tmp_path, cut)
