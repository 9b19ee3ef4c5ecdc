"""The folder of masks: one job's, gone on with, never somebody else's."""

import csv
from dataclasses import replace
from pathlib import Path

import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from plankseg.errors import OutputError
from plankseg.pipeline.prediction import output_folder
from plankseg.pipeline.prediction.output_folder import COLUMNS, Job, OutputFolder, open_folder

JOB = Job(images="/images", model_id="a" * 64, settings='{"views": "recipe"}')


def row(path: str) -> dict[str, object]:
    return dict.fromkeys(COLUMNS.names) | {"path": path, "mask": f"{path}.png", "area_px": 3, "empty": False}


def fill(folder: OutputFolder, *paths: str) -> None:
    for path in paths:
        folder.write(f"{path}.png", path.encode())
    folder.record([row(path) for path in paths])


def test_a_rerun_knows_what_is_done_and_the_tables_are_in_the_order_of_the_paths(tmp_path: Path) -> None:
    root = tmp_path / "out"
    with open_folder(root, JOB, overwrite=False) as folder:
        fill(folder, "b/1", "b/2")
    with open_folder(root, JOB, overwrite=False) as folder:
        assert [folder.is_done(path) for path in ("b/1", "b/2", "a/1")] == [True, True, False]
        fill(folder, "a/1")
        table = folder.finish([("c", "torn"), ("\udcff", "no name")])
    assert table["path"].to_pylist() == ["a/1", "b/1", "b/2"]
    assert pq.read_table(root / "measures.parquet").equals(table)
    assert pyarrow.csv.read_csv(root / "measures.csv")["path"].to_pylist() == ["a/1", "b/1", "b/2"]
    with (root / "left-out.csv").open(newline="") as file:
        assert list(csv.reader(file))[:2] == [["path", "reason"], ["c", "torn"]]


def test_a_row_whose_mask_is_gone_is_not_done(tmp_path: Path) -> None:
    with open_folder(tmp_path / "out", JOB, overwrite=False) as folder:
        fill(folder, "1", "2")
    (tmp_path / "out" / "1.png").unlink()
    with open_folder(tmp_path / "out", JOB, overwrite=False) as folder:
        assert [folder.is_done(path) for path in ("1", "2")] == [False, True]
        assert folder.finish([])["path"].to_pylist() == ["2"]


def test_a_folder_with_other_things_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(b"mine")
    with pytest.raises(OutputError, match="--overwrite"), open_folder(tmp_path, JOB, overwrite=False):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["1.png"]


def test_masks_of_another_job_are_refused_and_replaced_only_by_word(tmp_path: Path) -> None:
    with open_folder(tmp_path / "out", JOB, overwrite=False) as folder:
        fill(folder, "1", "2")
        folder.finish([("3", "torn")])
    (tmp_path / "out" / "mine.txt").write_text("mine")
    other = replace(JOB, model_id="b" * 64)
    with (
        pytest.raises(OutputError, match=f"model_id {'a' * 64} there"),
        open_folder(tmp_path / "out", other, overwrite=False),
    ):
        pass
    with open_folder(tmp_path / "out", other, overwrite=True) as folder:
        assert not folder.is_done("1")
        fill(folder, "1")
        assert folder.finish([])["path"].to_pylist() == ["1"]
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert left == {".plankseg", "1.png", "mine.txt", "measures.parquet", "measures.csv"}


def test_replacing_removes_nothing_outside_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "precious.png").write_bytes(b"mine")
    with open_folder(tmp_path / "out", JOB, overwrite=False) as folder:
        folder.record([row("x") | {"mask": "../precious.png"}, row("y") | {"mask": str(tmp_path / "precious.png")}])
    with open_folder(tmp_path / "out", JOB, overwrite=True):
        pass
    assert (tmp_path / "precious.png").read_bytes() == b"mine"


def test_two_runs_do_not_write_into_one_folder(tmp_path: Path) -> None:
    with (
        open_folder(tmp_path / "out", JOB, overwrite=False),
        pytest.raises(OutputError, match="Another"),
        open_folder(tmp_path / "out", JOB, overwrite=False),
    ):
        pass


def test_a_full_disk_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with open_folder(tmp_path / "out", JOB, overwrite=False) as folder:
        monkeypatch.setattr(output_folder, "atomic_write", full)
        with pytest.raises(OutputError, match="No space left on device; check the free space"):
            folder.record([row("1")])
