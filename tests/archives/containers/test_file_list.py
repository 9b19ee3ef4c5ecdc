"""Lists of files: patterns, tables and single images are read like folders, with paths relative to one of them."""

from pathlib import Path

import pytest

from plankseg.archives.containers.file_list import FileList, is_pattern
from plankseg.archives.open_archive import open_archive
from plankseg.errors import SettingsError
from tests.support.little_store import write_images


def names(container: FileList) -> list[str]:
    return [entry.name for entry in container.entries() if entry.fault is None]


def test_a_pattern_gives_its_files_below_the_part_without_wildcards(tmp_path: Path) -> None:
    write_images(tmp_path / "scans" / "a", range(2))
    write_images(tmp_path / "scans" / "b", range(2, 3))
    (tmp_path / "scans" / "a" / "notes.txt").write_text("hello")
    listed = FileList.of_pattern(str(tmp_path / "scans" / "*" / "*.png"))
    assert listed.location == tmp_path / "scans"
    assert names(listed) == ["a/0000.png", "a/0001.png", "b/0002.png"]
    assert len(names(FileList.of_pattern(str(tmp_path / "**" / "*.png")))) == 3
    with pytest.raises(SettingsError, match="No file matches"):
        FileList.of_pattern(str(tmp_path / "*.jpg"))


def test_a_pattern_leaves_out_masks_that_were_predicted(tmp_path: Path) -> None:
    write_images(tmp_path / "a", range(1))
    write_images(tmp_path / "masks" / "a", range(1))
    (tmp_path / "masks" / ".plankseg").mkdir()
    (tmp_path / "masks" / ".plankseg" / "job.json").write_text("{}")
    assert names(FileList.of_pattern(str(tmp_path / "**" / "*.png"))) == ["a/0000.png"]


def test_a_folder_whose_name_has_brackets_is_no_pattern(tmp_path: Path) -> None:
    (tmp_path / "[1]").mkdir()
    assert not is_pattern(str(tmp_path / "[1]"))
    assert is_pattern(str(tmp_path / "[2]"))


def test_a_table_gives_its_files_in_its_order_and_says_which_are_missing(tmp_path: Path) -> None:
    write_images(tmp_path / "a", range(3))
    table = tmp_path / "list.csv"
    table.write_text("path,taxon\na/0002.png,copepod\na/0000.png,salp\na/gone.png,salp\n")
    listed = FileList.of_table(table)
    assert names(listed) == ["list.csv", "a/0002.png", "a/0000.png"]
    (missing,) = [entry for entry in listed.entries() if entry.fault is not None]
    assert missing.name == "a/gone.png"
    assert "cannot be read" in str(missing.fault)
    taxa = {record.entry.name: record.taxon for record in open_archive(table).records() if record.fault is None}
    assert taxa == {"a/0002.png": "copepod", "a/0000.png": "salp"}


def test_a_table_may_name_files_above_its_own_folder(tmp_path: Path) -> None:
    write_images(tmp_path / "a", range(1))
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "list.csv").write_text(f"file\n../a/0000.png\n{tmp_path}/a/0000.png\n")
    listed = FileList.of_table(tmp_path / "lists" / "list.csv")
    assert listed.location == tmp_path
    assert names(listed) == ["lists/list.csv", "a/0000.png"]


def test_a_table_without_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("id,area\n1,2\n")
    with pytest.raises(SettingsError, match="no column that names files"):
        open_archive(tmp_path / "list.csv")


def test_a_single_image_is_an_archive_of_one(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "a", range(2))
    assert [record.entry.name for record in open_archive(folder / "0001.png").records()] == ["0001.png"]
