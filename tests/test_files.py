"""Files are replaced as a whole, and nothing is left of a write that failed."""

import os
from pathlib import Path

import pytest

from plankseg.files import atomic_file, atomic_write


@pytest.mark.parametrize("sole_writer", [False, True])
def test_a_file_is_replaced_as_a_whole(tmp_path: Path, sole_writer: bool) -> None:
    path = tmp_path / "a"
    atomic_write(path, b"old", sole_writer=sole_writer)
    with atomic_file(path, sole_writer=sole_writer) as partial:
        partial.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("sole_writer", [False, True])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path, sole_writer: bool) -> None:
    path = tmp_path / "a"
    atomic_write(path, b"old")

    def break_off() -> None:
        with atomic_file(path, sole_writer=sole_writer) as partial:
            partial.write_bytes(b"half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        break_off()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_sole_writer_left_is_written_over(tmp_path: Path) -> None:
    (tmp_path / ".a.partial").write_bytes(b"half of a killed process")
    atomic_write(tmp_path / "a", b"whole", sole_writer=True)
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_a_private_file_is_never_readable_by_others(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "a", mode=0o600) as partial:
        assert partial.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600


def test_a_full_disk_raises_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        atomic_write(tmp_path / "a", b"1")
    assert not list(tmp_path.iterdir())
