"""The demo's two domains, written as the folders a user would have."""

from pathlib import Path

import pytest

from plankseg.imaging.masks import decode_mask
from plankseg.imaging.reading import read_grey
from plankseg.imaging.synthetic.demo_domains import Folders, write_domains


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    return write_domains(tmp_path_factory.mktemp("domains"), source=3, pool=3, validation=2)


def names(folder: Path | None) -> list[str]:
    assert folder is not None
    return sorted(path.stem for path in folder.rglob("*") if path.is_file())


def test_every_image_lies_in_a_folder_of_its_taxon_and_noisy_ones_have_a_mask_of_their_size(made: Folders) -> None:
    assert [len(names(folder)) for folder in (made.source, made.pool, made.validation)] == [3, 3, 2]
    for images, masks in ((made.pool, made.pool_masks), (made.validation, made.validation_masks)):
        assert images is not None
        assert masks is not None
        assert names(images) == names(masks)
        for path in images.rglob("*.jpg"):
            relative = path.relative_to(images)
            assert len(relative.parts) == 2
            grey = read_grey(path.read_bytes())
            mask = decode_mask((masks / relative.with_suffix(".png")).read_bytes(), shape=grey.shape)
            assert mask.any()


def test_no_image_is_in_two_folders(made: Folders) -> None:
    assert made.validation is not None
    files = [data for folder in (made.source, made.pool, made.validation) for data in contents(folder).values()]
    assert len(set(files)) == len(files) == 8


def test_the_same_numbers_give_the_same_files_and_larger_ones_only_add(made: Folders, tmp_path: Path) -> None:
    root = made.source.parent
    larger = write_domains(tmp_path, source=3, pool=4, validation=2)
    before, after = contents(root), contents(larger.source.parent)
    assert before.items() <= after.items()
    assert len(after) == len(before) + 2


def test_what_is_there_is_kept_and_what_is_missing_comes_back(tmp_path: Path) -> None:
    made = write_domains(tmp_path, source=1, pool=1, validation=1)
    whole = contents(tmp_path)
    (image,) = made.source.rglob("*.jpg")
    (lost,) = made.pool.rglob("*.jpg")
    image.write_bytes(b"touched by a person")
    lost.unlink()
    write_domains(tmp_path, source=1, pool=1, validation=1)
    assert image.read_bytes() == b"touched by a person"
    assert contents(tmp_path) == {**whole, str(image.relative_to(tmp_path)): b"touched by a person"}
