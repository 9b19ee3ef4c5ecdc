"""Images that were moved together with their store are read where they lie now, and no other file of their name is."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from plankseg.config import Settings
from plankseg.errors import ObjectMissingError
from plankseg.imaging.reading import encode_grey
from plankseg.pipeline.ingest.register_images import ingest_folder
from plankseg.pipeline.training.round_training import fit
from plankseg.storage.objects.image_files import moved_with_store
from plankseg.storage.s3.addresses import Address
from plankseg.storage.store import Store
from tests.support.archive_packing import pack
from tests.support.little_store import add_answers, add_proposal, clean_image, noisy_image, square
from tests.support.tiny_recipe import TINY

NAMES = ("images/pool/Oithona/1.png", "images/pool/Oithona/2.png", "images/pool/ü ö#%20/3.png")


def working_directory(folder: Path, kind: str) -> Store:
    """A folder with a store and, below the same folder, the images of its pool: as files or in an archive."""
    files = {name: encode_grey(noisy_image(seed)) for seed, name in enumerate(NAMES)}
    if kind == "folder":
        for name, data in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        images = folder / "images/pool"
    else:
        folder.mkdir(exist_ok=True)
        images = pack(kind, folder / "archives", files)
    store = Store.open(folder / "store")
    assert ingest_folder(store, images, role="pool").added == len(NAMES)
    return store


@pytest.mark.parametrize("kind", ["folder", "zip", "tar"])
def test_a_working_directory_that_was_moved_as_a_whole_reads_its_images(tmp_path: Path, kind: str) -> None:
    working_directory(tmp_path / "x", kind)
    (tmp_path / "x").rename(tmp_path / "y ä")
    moved = Store.open(tmp_path / "y ä/store")
    ids = moved.catalogue.ids("pool")
    load = moved.catalogue.loader(ids)
    for image_id in ids:
        assert not moved.catalogue.is_lost(image_id)
        assert (moved.catalogue.load(image_id) == load(image_id)).all()
    shutil.rmtree(tmp_path / "y ä/images", ignore_errors=True)
    for archive in (tmp_path / "y ä").glob("archives*"):
        archive.unlink()
    assert all(moved.catalogue.is_lost(image_id) for image_id in ids)


def test_a_moved_working_directory_goes_into_another_one_and_is_ingested_there_once_more(tmp_path: Path) -> None:
    working_directory(tmp_path / "x", "folder")
    (tmp_path / "deep/er").mkdir(parents=True)
    (tmp_path / "x").rename(tmp_path / "deep/er/x")
    store = Store.open(tmp_path / "deep/er/x/store")
    report = ingest_folder(store, tmp_path / "deep/er/x/images/pool", role="pool")
    assert (report.added, report.known, report.moved) == (0, 3, 3)
    uris = store.tables.read("images")["uri"].to_pylist()
    assert sum("/deep/er/" in uri for uri in uris) == 3


def test_another_image_of_the_same_name_is_not_taken_for_it(tmp_path: Path) -> None:
    store = working_directory(tmp_path / "x", "folder")
    image_id, uri = next((row.image_id, row.uri) for row in store.catalogue.rows(store.catalogue.ids("pool")))
    (tmp_path / "x").rename(tmp_path / "y")
    for name in NAMES:
        (tmp_path / "y" / name).write_bytes(encode_grey(noisy_image(99)))
    moved = Store.open(tmp_path / "y/store")
    with pytest.raises(ObjectMissingError, match="run ingest on the folder it moved to"):
        moved.catalogue.load(image_id)
    assert moved_with_store(image_id, uri, Address("bucket", "store")) is None
    assert moved_with_store(image_id, "s3://bucket/1.png", moved.blobs.root) is None
    assert moved_with_store(image_id, "archive+file:///a?at=x", moved.blobs.root) is None


@pytest.mark.slow
def test_after_a_move_the_report_is_written_and_a_training_has_all_its_images(tmp_path: Path) -> None:
    folder = tmp_path / "x"
    store = working_directory(folder, "folder")
    for seed in range(12):
        path = folder / "images/source" / f"{seed}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_grey(clean_image(seed)))
    ingest_folder(store, folder / "images/source", role="source")
    fit(store, TINY, Settings(store=str(store.root), device="cpu"), round_number=0)
    ids = list(store.catalogue.ids("pool"))
    add_proposal(store, 1, ids[:2], premask=square(noisy_image(0).shape, 9))
    add_answers(store, 1, ids[:2], mask=square(noisy_image(0).shape, 12))
    folder.rename(tmp_path / "y")
    environment = os.environ | {"PLANKSEG_STORE": str(tmp_path / "y/store")}
    for command in (["report", str(tmp_path / "r.html")], ["status"]):
        done = subprocess.run(
            [sys.executable, "-m", "plankseg.cli", *command],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
        )
        assert (done.returncode, done.stderr) == (0, "")
    assert "cannot be read" not in (tmp_path / "r.html").read_text()
    moved = Store.open(tmp_path / "y/store")
    model = fit(moved, TINY, Settings(store=str(moved.root), device="cpu"), round_number=1)
    assert model.round == 1
    assert moved.exclusions.current("unreadable") == {}
