"""Masks from files of other programs: COCO's JSON and zips of ROIs, found by path or by the end of it."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from plankseg.errors import ImageReadError, MaskShapeError, SettingsError
from plankseg.imaging.masks import decode_mask, encode_mask
from plankseg.imaging.reading import encode_grey
from plankseg.pipeline.exports.mask_records import Masks
from plankseg.pipeline.exports.write_masks import write_masks
from plankseg.pipeline.ingest.mask_files import open_mask_file
from plankseg.pipeline.ingest.register_images import IngestOptions, ingest_folder
from plankseg.storage.store import Store
from tests.support.little_store import noisy_image, square, write_images
from tests.support.mask_records import record

GREY = noisy_image(0)


def masks() -> dict[str, np.ndarray]:
    return {f"{folder}/{n:04d}.png": square(GREY.shape, 5 + n) for folder, n in (("a", 0), ("a", 1), ("b", 2))}


@pytest.fixture(params=["coco", "imagej"])
def written(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / {"coco": "masks.json", "imagej": "rois.zip"}[request.param]
    write_masks(Masks(3, (record(name, mask) for name, mask in masks().items())), request.param, path)
    return path


def test_what_was_exported_is_ingested_again_with_the_same_pixels(written: Path, tmp_path: Path) -> None:
    for name in masks():
        write_images(tmp_path / "images" / name.split("/")[0], range(int(name[2:6]), int(name[2:6]) + 1))
    write_images(tmp_path / "images" / "c", range(9, 10))
    store = Store.open(tmp_path / "store")
    options = IngestOptions(masks=written)
    report = ingest_folder(store, tmp_path / "images", role="validation", options=options)
    assert (report.added, report.masks) == (3, 3)
    assert [problem.path.rpartition("/")[2] for problem in report.problems] == ["0009.png"]
    for label in store.labels.current():
        row = store.catalogue.row(label.image_id)
        expected = masks()[f"{row.taxon}/{row.uri.rpartition('/')[2]}"]
        assert label.mask_sha is not None
        assert np.array_equal(decode_mask(store.blobs.get(label.mask_sha, "png")), expected)
        assert label.origin == "given"


def test_names_are_found_by_their_end_unless_several_have_it(written: Path) -> None:
    found = open_mask_file(written)
    for name in ("b/0002.png", "0002.png", "scans/b/0002.tif", "b/0002"):
        assert np.array_equal(found.mask_of(name, GREY), masks()["b/0002.png"]), name
    with pytest.raises(ImageReadError, match=r"No mask for c/0003\.png"):
        found.mask_of("c/0003.png", GREY)


def test_instances_of_one_image_are_put_together_and_wrong_sizes_are_refused(tmp_path: Path) -> None:
    one = {"segmentation": [[0, 0, 3, 0, 3, 3, 0, 3]], "image_id": 1}
    other = {"segmentation": [[2, 2, 6, 2, 6, 6, 2, 6]], "image_id": 1}
    images = [
        {"id": 1, "file_name": "x/1.png", "height": 8, "width": 9},
        {"id": 2, "file_name": "y/1.png", "height": 8, "width": 9},
    ]
    (tmp_path / "a.json").write_text(json.dumps({"images": images, "annotations": [one, other]}))
    found = open_mask_file(tmp_path / "a.json")
    grey = np.zeros((8, 9), np.uint8)
    assert found.mask_of("x/1.png", grey).sum() == 9 + 16 - 1
    assert not found.mask_of("y/1.png", grey).any()
    with pytest.raises(ImageReadError, match="several images of it have this name"):
        found.mask_of("z/1.png", grey)
    with pytest.raises(MaskShapeError, match=r"says that x/1.png is 9 x 8, but it is 8 x 9"):
        found.mask_of("x/1.png", np.zeros((9, 8), np.uint8))


def test_files_that_hold_no_masks_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("no masks")
    with pytest.raises(SettingsError, match="no folder of masks"):
        open_mask_file(tmp_path / "a.txt")
    (tmp_path / "a.json").write_text('{"images": [], "annotations": [{"image_id": 3, "segmentation": []}]}')
    with pytest.raises(ImageReadError, match="cannot be read as COCO"):
        open_mask_file(tmp_path / "a.json")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.roi", b"torn")
    with pytest.raises(ImageReadError, match="zip of ROIs"):
        open_mask_file(tmp_path / "a.zip")
    store = Store.open(tmp_path / "store")
    with pytest.raises(SettingsError, match="is not there"):
        ingest_folder(store, tmp_path, role="validation", options=IngestOptions(masks=tmp_path / "gone"))


def test_a_zip_of_mask_images_is_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "blobs.zip", "w") as archive:
        for name, mask in masks().items():
            archive.writestr(name.replace("/", "_"), encode_mask(mask))
        archive.writestr("readme.txt", "no mask")
        archive.writestr("grey.png", encode_grey(GREY))
    found = open_mask_file(tmp_path / "blobs.zip")
    assert np.array_equal(found.mask_of("2012/b_0002.png", GREY), masks()["b/0002.png"])
    with pytest.raises(MaskShapeError, match=r"blobs\.zip: a_0000\.png is 41 x 34 but its image is 8 x 9"):
        found.mask_of("a_0000.png", np.zeros((9, 8), np.uint8))
    with pytest.raises(ImageReadError, match="a mask has two"):
        found.mask_of("grey.png", GREY)
    (tmp_path / "cut.zip").write_bytes((tmp_path / "blobs.zip").read_bytes()[:-40])
    with pytest.raises(ImageReadError, match="no whole zip"):
        open_mask_file(tmp_path / "cut.zip")
