"""Relative paths of images: from the folder that a data set shares, or inside of the archive."""

import tarfile
from pathlib import Path

import pytest

from plankseg.errors import SettingsError
from plankseg.pipeline.archive.image_paths import image_named, relative_paths
from plankseg.pipeline.ingest.register_images import ingest_folder
from plankseg.storage.objects.archive_members import member_name
from plankseg.storage.store import Store
from tests.support.little_store import write_images


@pytest.fixture
def images(tmp_path: Path) -> Path:
    write_images(tmp_path / "images" / "Appendicularia, tête #1%", range(2))
    write_images(tmp_path / "images" / "salp", range(2, 4))
    return tmp_path / "images"


def paths_of(store: Store) -> set[str]:
    rows = store.catalogue.rows(store.catalogue.ids("pool"))
    return set(relative_paths(store, rows).values())


def expected(images: Path) -> set[str]:
    return {path.relative_to(images).as_posix() for path in images.rglob("*.png")}


def test_files_of_a_folder_whichever_are_asked_for(images: Path, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    ingest_folder(store, images, role="pool")
    write_images(tmp_path / "other" / "salp", range(7, 8))
    ingest_folder(store, tmp_path / "other" / "salp", role="source")
    assert paths_of(store) == expected(images)
    (first, *_) = store.catalogue.rows(store.catalogue.ids("pool"))
    assert relative_paths(store, [first])[first.image_id] in expected(images)


@pytest.mark.parametrize("kind", ["w", "w:gz"])
def test_members_of_an_archive(images: Path, tmp_path: Path, kind: str) -> None:
    with tarfile.open(tmp_path / "images.tar", kind) as archive:  # type: ignore[call-overload]
        archive.add(images, ".")
    store = Store.open(tmp_path / "store")
    ingest_folder(store, tmp_path / "images.tar", role="pool")
    assert paths_of(store) == expected(images)


def test_an_address_that_is_no_member_has_no_name_inside() -> None:
    assert member_name("file:///a/b%23c.png") is None
    assert member_name("archive+file:///a.tar?at=512&size=9#x/%23y.png") == "x/#y.png"


def test_an_image_is_found_by_what_a_person_knows_of_it(images: Path, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    ingest_folder(store, images, role="pool")
    for row in store.catalogue.rows(store.catalogue.ids("pool")):
        path = store.catalogue.path(row.image_id)
        names = [row.image_id, row.image_id[:12], str(path), path.as_uri(), path.relative_to(images).as_posix()]
        assert {image_named(store, name) for name in names} == {row.image_id}
    with pytest.raises(SettingsError, match=r"0 of 4 images are called 'gone.png'; give the image's path"):
        image_named(store, "gone.png")
    with pytest.raises(SettingsError, match="4 of 4 images are called ''"):
        image_named(store, "")
