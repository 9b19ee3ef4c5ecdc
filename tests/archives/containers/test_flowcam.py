"""Runs of a FlowCam: each object is cut out of its collage; what is missing or damaged is named."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from plankseg.archives.open_archive import open_archive
from plankseg.archives.open_container import open_container
from plankseg.errors import ArchiveError, ObjectCorruptError, ObjectMissingError, StoreError
from plankseg.imaging.reading import read_grey
from plankseg.pipeline.ingest.register_images import ingest_folder
from plankseg.storage.objects.blobs import sha256_of
from plankseg.storage.objects.collage_images import CollageImage
from plankseg.storage.objects.image_files import is_lost, read_image_bytes
from plankseg.storage.store import Store

FIELDS = ("id", "image_x", "image_y", "image_w", "image_h", "raw_area", "collage_file")
COLLAGE = np.random.default_rng(3).integers(0, 255, (60, 90), dtype=np.uint8)
OBJECTS = {1: (2, 3, 24, 28), 2: (30, 3, 40, 50), 17: (75, 10, 15, 9)}


def write_run(folder: Path, rows: list[str] | None = None) -> Path:
    """A list and its collage, as a FlowCam's program writes them."""
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(COLLAGE).save(folder / "run_images_000001.tif")
    Image.fromarray(COLLAGE > 100).save(folder / "run_images_000001_bin.tif")
    Image.fromarray(COLLAGE).save(folder / "cal_image_000001.tif")
    if rows is None:
        rows = [
            f"{own}|{x}|{y}|{width}|{height}|92.0|run_images_000001.tif"
            for own, (x, y, width, height) in OBJECTS.items()
        ]
    header = ["017", f"num-fields|{len(FIELDS)}", *(f"{name}|int32" for name in FIELDS)]
    (folder / "run.lst").write_text("\n".join([*header, *rows]) + "\n")
    return folder / "run.lst"


@pytest.mark.parametrize("by", ["folder", "list"])
def test_each_object_is_an_image_called_by_the_run_and_its_id(tmp_path: Path, by: str) -> None:
    path = write_run(tmp_path / "tank ø" / "run")
    archive = open_archive(tmp_path if by == "folder" else path)
    records = list(archive.records())
    prefix = "tank ø/run/run" if by == "folder" else "run"
    assert [record.entry.name for record in records] == [f"{prefix}_{own:05d}.png" for own in OBJECTS]
    assert {record.taxon for record in records} == {None}
    assert records[0].external_id == "run_00001"
    for record, (x, y, width, height) in zip(records, OBJECTS.values(), strict=True):
        assert np.array_equal(read_grey(record.entry.read()), COLLAGE[y : y + height, x : x + width])
    assert archive.problems == []


def test_they_are_read_again_in_place(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    store = Store.open(tmp_path / "store")
    assert ingest_folder(store, tmp_path / "run", role="pool").added == 3
    for image_id in store.catalogue.ids("pool"):
        uri = store.catalogue.row(image_id).uri
        assert sha256_of(read_image_bytes(image_id, uri)) == image_id
        assert CollageImage.parse(uri).uri == uri
        assert not is_lost(uri)
    (tmp_path / "run" / "run_images_000001.tif").unlink()
    assert is_lost(uri)
    with pytest.raises(ObjectMissingError, match="is not there"):
        read_image_bytes(image_id, uri)


def test_rows_that_cannot_be_read_are_named_and_cost_themselves_alone(tmp_path: Path) -> None:
    good = "1|2|3|24|28|92.0|run_images_000001.tif"
    bad = [
        "2|x|3|24|28|92.0|run_images_000001.tif",
        "3|2|3|0|28|92.0|run_images_000001.tif",
        "4|2|3|4|5|92.0|../up.tif",
        "5|2|3|4",
    ]
    faults = [entry.fault for entry in open_container(write_run(tmp_path, [good, *bad])).entries() if entry.fault]
    reasons = ["invalid literal", "0 x 28 px", "no file beside the list", "4 of 7 fields: cut off"]
    assert all(reason in fault for reason, fault in zip(reasons, faults, strict=True)), faults


def test_a_rectangle_beyond_its_collage_is_refused(tmp_path: Path) -> None:
    path = write_run(tmp_path, ["1|80|3|24|28|92.0|run_images_000001.tif", "2|0|0|4|4|1|gone.tif"])
    beyond, gone = open_container(path).entries()
    with pytest.raises(ObjectCorruptError, match="ends beyond its picture"):
        beyond.read()
    with pytest.raises(ObjectMissingError, match=r"gone\.tif is not there"):
        gone.read()
    (tmp_path / "run_images_000001.tif").write_bytes(b"no picture")
    with pytest.raises(ObjectCorruptError):
        beyond.read()
    with pytest.raises(StoreError, match="no address"):
        CollageImage.parse("flowcam+file:///a.tif?at=1&size=2,3#a")


def test_a_list_without_its_columns_is_refused_and_other_lists_are_no_runs(tmp_path: Path) -> None:
    path = write_run(tmp_path)
    path.write_text("017\nnum-fields|1\nid|int32\n1\n")
    with pytest.raises(ArchiveError, match="no list of a FlowCam's run with the columns"):
        open_container(path)
    path.write_text("a list of other things\n")
    assert [entry.name for entry in open_container(tmp_path).entries() if entry.is_image] == [
        "cal_image_000001.tif",
        "run_images_000001.tif",
        "run_images_000001_bin.tif",
    ]
