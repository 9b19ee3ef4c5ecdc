"""An ingest records where it has just read a known image, whenever the recorded address no longer holds its bytes."""

import os
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from plankseg.errors import PlanksegError, SettingsError
from plankseg.pipeline.ingest.register_images import ingest_folder
from plankseg.storage.store import Store


def save(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(150, 255, (40, 50), np.uint8)).save(path)


def readable(store: Store) -> tuple[int, int]:
    """How many images can be read, of how many."""
    ids = store.catalogue.ids("pool")
    return sum(can_be_read(store, image_id) for image_id in ids), len(ids)


def can_be_read(store: Store, image_id: str) -> bool:
    try:
        store.catalogue.load(image_id)
    except PlanksegError:
        return False
    return True


def test_files_that_were_renumbered_are_found_again(tmp_path: Path) -> None:
    for number in range(1, 8):
        save(tmp_path / "im" / f"{number}.png", number)
    store = Store.open(tmp_path / "store")
    ingest_folder(store, tmp_path / "im", role="pool")
    (tmp_path / "im/1.png").unlink()
    for number in range(2, 8):
        (tmp_path / f"im/{number}.png").rename(tmp_path / f"im/{number - 1}.png")
    report = ingest_folder(store, tmp_path / "im", role="pool")
    assert (report.added, report.known, report.moved) == (0, 6, 6)
    assert readable(Store.open(tmp_path / "store")) == (6, 7)
    version = store.tables.version("images")
    assert ingest_folder(store, tmp_path / "im", role="pool").moved == 0
    assert store.tables.version("images") == version


def two_names_swapped(folder: Path) -> None:
    (folder / "1.png").rename(folder / "x")
    (folder / "2.png").rename(folder / "1.png")
    (folder / "x").rename(folder / "2.png")


def all_in_a_new_folder_and_other_images_in_their_place(folder: Path) -> None:
    for number in range(1, 6):
        (folder / "Class").mkdir(exist_ok=True)
        (folder / f"{number}.png").rename(folder / "Class" / f"{number}.png")
        save(folder / f"{number}.png", 100 + number)


def written_over_after_a_copy(folder: Path) -> None:
    shutil.copytree(folder, folder / "copy")
    save(folder / "3.png", 333)


@pytest.mark.parametrize(
    ("change", "moved"),
    [
        (two_names_swapped, 2),
        (all_in_a_new_folder_and_other_images_in_their_place, 5),
        (written_over_after_a_copy, 1),
    ],
)
def test_whatever_was_read_with_ones_own_eyes_can_be_read_later(
    tmp_path: Path, change: Callable[[Path], None], moved: int
) -> None:
    for number in range(1, 6):
        save(tmp_path / "im" / f"{number}.png", number)
    store = Store.open(tmp_path / "store")
    ingest_folder(store, tmp_path / "im", role="pool")
    change(tmp_path / "im")
    assert ingest_folder(store, tmp_path / "im", role="pool").moved == moved
    found, every = readable(store)
    assert found == every
    assert ingest_folder(store, tmp_path / "im", role="pool").moved == 0


def packed_zip(archive: Path, files: list[Path]) -> None:
    with zipfile.ZipFile(archive, "w") as zipped:
        for file in files:
            zipped.write(file, f"A/{file.name}")


def packed_tar(archive: Path, files: list[Path]) -> None:
    with tarfile.open(archive, "w") as tar:
        for file in files:
            tar.add(file, f"A/{file.name}")


def packed_compressed_tar(archive: Path, files: list[Path]) -> None:
    with tarfile.open(archive, "w:gz") as tar:
        for file in files:
            tar.add(file, f"A/{file.name}")


@pytest.mark.parametrize("pack", [packed_zip, packed_tar, packed_compressed_tar])
def test_an_archive_that_was_packed_anew_is_read_at_its_new_offsets(
    tmp_path: Path, pack: Callable[[Path, list[Path]], None]
) -> None:
    files = [tmp_path / "im" / f"{number}.png" for number in range(7)]
    for number, file in enumerate(files):
        save(file, number)
    archive, store = tmp_path / "a.archive", Store.open(tmp_path / "store")
    pack(archive, files[1:])
    ingest_folder(store, archive, role="pool")
    pack(archive, files)
    ingest_folder(store, archive, role="pool")
    assert readable(Store.open(tmp_path / "store")) == (7, 7)


def test_equal_files_in_two_places_do_not_move_to_and_fro(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        save(tmp_path / "im" / folder / "1.png", 1)
    store = Store.open(tmp_path / "store")
    for _ in range(3):
        ingest_folder(store, tmp_path / "im", role="pool")
        ingest_folder(store, tmp_path / "im/b", role="pool")
    assert store.tables.read("images").num_rows == 1


def test_a_folder_whose_name_is_no_utf8_can_be_ingested_and_read(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9/Calanoida"))
    for number in range(3):
        save(folder / f"{number}.png", number)
    store = Store.open(tmp_path / "store")
    assert ingest_folder(store, folder.parent, role="pool").added == 3
    assert readable(store) == (3, 3)
    row = store.catalogue.row(store.catalogue.ids("pool")[0])
    assert (row.dataset, row.taxon) == ("caf\\udce9", "Calanoida")


def test_an_archive_whose_name_is_no_utf8_is_read_in_place(tmp_path: Path) -> None:
    save(tmp_path / "1.png", 1)
    archive = Path(os.fsdecode(os.fsencode(tmp_path) + b"/z\xe9.zip"))
    packed_zip(archive, [tmp_path / "1.png"])
    store = Store.open(tmp_path / "store")
    ingest_folder(store, archive, role="pool")
    assert readable(Store.open(tmp_path / "store")) == (1, 1)


def test_an_image_that_changes_its_role_says_so_and_how_many(tmp_path: Path) -> None:
    for number in range(1, 5):
        save(tmp_path / "im" / f"{number}.png", number)
    save(tmp_path / "other" / "9.png", 9)
    shutil.copy(tmp_path / "im" / "1.png", tmp_path / "other")
    store = Store.open(tmp_path / "store")
    assert not ingest_folder(store, tmp_path / "im", role="pool").changed_role
    report = ingest_folder(store, tmp_path / "other", role="validation")
    assert (report.added, report.changed_role) == (2, {"pool": 1})
    assert report.summary().startswith(f"{report.role}: 1 new image, 1 from the pool, 0 known, ")
    assert "1 of these images were in the pool before; from now on they are in the validation." in report.warnings()
    assert not ingest_folder(store, tmp_path / "other", role="validation").changed_role
    assert store.catalogue.counts() == {"source": 0, "pool": 3, "validation": 2}
    back = ingest_folder(store, tmp_path / "im", role="pool")
    assert (back.added, back.known, len(back.rejected)) == (0, 3, 1)


def test_a_folder_that_is_not_there_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"gone does not exist; give the folder, tar or zip"):
        ingest_folder(Store.open(tmp_path / "store"), tmp_path / "gone", role="pool")
