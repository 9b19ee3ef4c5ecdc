"""Exports: every format whole or not at all, from a folder of masks and from a store, people's answers first."""

import csv
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from plankseg.errors import OutputError, SettingsError
from plankseg.formats.coco import read_masks
from plankseg.imaging.masks import encode_mask, encode_mask_8bit
from plankseg.imaging.measures import ifcb_features
from plankseg.pipeline.exports.mask_records import Masks, masks_of_folder, masks_of_store
from plankseg.pipeline.exports.write_masks import Written, checked_format, write_masks
from plankseg.pipeline.ingest.register_images import ingest_folder
from plankseg.pipeline.prediction.output_folder import COLUMNS, Job, open_folder
from plankseg.storage.store import Store
from plankseg.storage.tables.segments import MEASURES, SegmentRow
from tests.support.little_store import add_answers, add_model, noisy_image, square, write_images
from tests.support.mask_records import odd_masks, record

SHAPE = noisy_image(0).shape


@pytest.fixture
def images(tmp_path: Path) -> Path:
    write_images(tmp_path / "images" / "copepod", range(2))
    write_images(tmp_path / "images" / "salp", range(2, 4))
    return tmp_path / "images"


@pytest.fixture
def predicted(images: Path, tmp_path: Path) -> Path:
    """A folder as `plankseg predict` leaves it; the mask of image n has n + 1 columns."""
    root = tmp_path / "masks"
    with open_folder(root, Job(str(images), "a" * 64, "{}"), overwrite=False) as folder:
        rows = []
        for number, path in enumerate(sorted(path.relative_to(images).as_posix() for path in images.rglob("*.png"))):
            folder.write(path, encode_mask_8bit(columns(number + 1)))
            given = {"path": path, "mask": path, "status": "usable", "origin": "corrected" if number == 1 else "model"}
            rows.append(dict.fromkeys(COLUMNS.names) | {"image_id": f"{number:064x}", "expected_dice": 0.5} | given)
        rows[3]["status"] = "skipped"
        folder.record(rows)
        folder.finish([])
    return root


@pytest.fixture
def store(images: Path, tmp_path: Path) -> Store:
    """All four images segmented; a person corrected the second, skipped the third, called the fourth unusable."""
    store = Store.open(tmp_path / "store")
    ingest_folder(store, images, role="pool")
    model = add_model(store, 0)
    ids = list(store.catalogue.ids("pool"))
    sha = store.blobs.put(encode_mask(columns(5)), "png")
    rows = [dict.fromkeys(MEASURES.names) | {"image_id": i, "mask_sha": sha, "confidence": 0.5} for i in ids]
    digest = "b" * 64
    store.segments.commit(
        SegmentRow(
            shard_id=digest,
            job=digest,
            model_id=model.model_id,
            settings="{}",
            images=4,
            unreadable=0,
            measures_sha=store.segments.put_measures(rows),
        )
    )
    add_answers(store, 1, ids[1:2], mask=square(SHAPE, 9))
    add_answers(store, 1, ids[2:3])
    add_answers(store, 1, ids[3:4], status="unusable")
    return store


def columns(count: int) -> np.ndarray:
    mask = np.zeros(SHAPE, dtype=bool)
    mask[:, :count] = True
    return mask


def records() -> Masks:
    given = odd_masks()
    return Masks(len(given), (record(name, mask) for name, mask in given.items()))


def broken() -> Masks:
    def read() -> Iterator[object]:
        yield record("a.png", columns(1))
        raise OutputError("torn")

    return Masks(2, read())  # type: ignore[arg-type]


def test_a_folder_of_masks_leaves_in_every_format(predicted: Path, images: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    for kind in ("png", "pairs", "coco", "imagej", "geojson", "label-studio"):
        masks = masks_of_folder(predicted)
        assert (masks.count, masks.skipped) == (3, 1)
        written = write_masks(masks, checked_format(kind), tmp_path / kind, told=lambda *n: told.append(n))
        assert (written.images, written.without) == (3, ())
    assert told[:3] == [(1, 3), (2, 3), (3, 3)]
    found = dict(read_masks(tmp_path / "coco"))
    names = ["copepod/0000.png", "copepod/0001.png", "salp/0002.png"]
    assert list(found) == names
    assert [int(mask[0].sum()) for mask in found.values()] == [1, 2, 3]
    with zipfile.ZipFile(tmp_path / "imagej") as archive:
        assert archive.namelist() == [f"{name}.roi" for name in names]
    features = json.loads((tmp_path / "geojson").read_text())["features"]
    assert [feature["properties"]["origin"] for feature in features] == ["model", "corrected", "model"]
    tasks = json.loads((tmp_path / "label-studio").read_text())
    assert [sorted(task) for task in tasks] == [
        ["data", "predictions"],
        ["annotations", "data"],
        ["data", "predictions"],
    ]
    for name in names:
        assert (tmp_path / "pairs" / "images" / name).read_bytes() == (images / name).read_bytes()
        for masks_in in ("png", "pairs/masks"):
            assert np.array_equal(np.asarray(Image.open(tmp_path / masks_in / name)) > 0, found[name])
    assert (tmp_path / "png").stat().st_mode & 0o777 == images.stat().st_mode & 0o777


def test_pairs_can_be_ingested_with_their_masks(predicted: Path, tmp_path: Path) -> None:
    write_masks(masks_of_folder(predicted), "pairs", tmp_path / "pairs")
    store = Store.open(tmp_path / "another")
    assert ingest_folder(store, tmp_path / "pairs", role="validation").masks == 3


def test_images_of_an_archive_are_found_again(predicted: Path, images: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for path in sorted(images.rglob("*.png")):
            archive.write(path, path.relative_to(images))
    marker = predicted / ".plankseg" / "job.json"
    marker.write_text(json.dumps(json.loads(marker.read_text()) | {"images": str(tmp_path / "images.zip")}))
    assert write_masks(masks_of_folder(predicted), "pairs", tmp_path / "pairs").without == ()
    assert len(list((tmp_path / "pairs" / "images").rglob("*.png"))) == 3


def test_a_store_gives_a_persons_mask_before_the_models_and_leaves_out_what_was_refused(store: Store) -> None:
    masks = masks_of_store(store)
    given = list(masks.records)
    assert (len(given), masks.skipped) == (2, 2)
    by_origin = {item.origin: item for item in given}
    assert np.array_equal(by_origin["corrected"].mask, square(SHAPE, 9))
    assert np.array_equal(by_origin["model"].mask, columns(5))
    assert (by_origin["corrected"].score, by_origin["model"].score) == (None, 0.5)
    assert {item.path.split("/")[0] for item in given} <= {"copepod", "salp"}
    assert all(item.path.split("/")[0] == item.taxon for item in given)
    assert all(store.catalogue.read_bytes(item.image_id) == item.read_image() for item in given)


@pytest.mark.parametrize(("only", "origins"), [("people", {"corrected"}), ("model", {"model"})])
def test_one_kind_of_masks_can_be_asked_for(store: Store, predicted: Path, only: str, origins: set[str]) -> None:
    for masks in (masks_of_store(store, only=only), masks_of_folder(predicted, only=only)):  # type: ignore[arg-type]
        given = list(masks.records)
        assert {item.origin for item in given} == origins
        assert len(given) == masks.count


def test_a_store_without_masks_says_so(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no mask to export"):
        masks_of_store(Store.open(tmp_path / "new"))


def test_the_table_of_ifcb_features_has_a_row_for_each_mask_and_leaves_an_empty_ones_empty(
    tmp_path: Path,
) -> None:
    given = {"copepod/a.png": columns(3), "empty, odd.png": np.zeros((4, 5), bool)}
    records = Masks(len(given), (record(name, mask) for name, mask in given.items()))
    assert write_masks(records, "ifcb", tmp_path / "features.csv") == Written(2)
    with (tmp_path / "features.csv").open(encoding="utf-8", newline="") as file:
        full, empty = csv.DictReader(file)
    assert (full["path"], empty["path"]) == tuple(given)
    assert float(full["Area"]) == given["copepod/a.png"].sum()
    assert len(full) == 35
    assert {empty[name] for name in ifcb_features.COLUMNS} == {""}


def test_the_table_of_zooprocess_measures_grey_levels_of_the_image_below_each_mask(
    predicted: Path, images: Path, tmp_path: Path
) -> None:
    (gone, *_) = sorted(images.rglob("*.png"))
    gone.write_bytes(b"damaged")
    written = write_masks(masks_of_folder(predicted), "zooprocess", tmp_path / "zooprocess.csv")
    assert written.images == 2, "one of four is damaged, one was skipped"
    assert [path for path, _ in written.without] == [gone.relative_to(images).as_posix()]
    with (tmp_path / "zooprocess.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row, width in zip(rows, (2, 3), strict=True):
        pixels = np.asarray(Image.open(images / row["path"]))[columns(width)]
        assert float(row["mean"]) == pytest.approx(pixels.mean())
        assert (float(row["intden"]), float(row["area"])) == (pixels.sum(dtype=int), pixels.size)


@pytest.mark.parametrize("kind", ["png", "coco", "imagej", "geojson", "label-studio", "ifcb", "zooprocess"])
def test_after_an_error_nothing_is_left_and_what_was_there_stays(tmp_path: Path, kind: str) -> None:
    with pytest.raises(OutputError, match="torn"):
        write_masks(broken(), checked_format(kind), tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten_without_a_word(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text("mine")
    with pytest.raises(OutputError, match="--overwrite"):
        write_masks(records(), "coco", tmp_path / "mine.json")
    assert (tmp_path / "mine.json").read_text() == "mine"
    write_masks(records(), "coco", tmp_path / "mine.json", overwrite=True)
    assert len(list(read_masks(tmp_path / "mine.json"))) == 6
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "letter.txt").write_text("mine")
    write_masks(records(), "png", tmp_path / "folder", overwrite=True)
    assert (tmp_path / "folder" / "letter.txt").read_text() == "mine"
    assert len(list((tmp_path / "folder").rglob("*.png"))) == 6
    for kind, target in (("coco", "folder"), ("png", "mine.json")):
        with pytest.raises(OutputError, match="is a f"):
            write_masks(records(), checked_format(kind), tmp_path / target, overwrite=True)


def test_names_that_lead_out_or_collide_are_not_lost_silently(tmp_path: Path) -> None:
    names = ["../out.png", "a/1.png", "a/1.jpg", "/root.png"]
    masks = Masks(4, (record(name, columns(1)) for name in names))
    written = write_masks(masks, "png", tmp_path / "masks")
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png")) == [
        "masks/a/1.jpg.png",
        "masks/a/1.png",
    ]
    assert [path for path, _ in written.without] == ["../out.png", "/root.png"]


def test_an_empty_mask_has_no_roi_and_is_named(tmp_path: Path) -> None:
    written = write_masks(records(), "imagej", tmp_path / "rois.zip")
    assert written.images == 5
    assert [path for path, _ in written.without] == ["empty.png"]


def test_an_unknown_format_and_a_folder_that_predict_did_not_write_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="'xml' is no format"):
        checked_format("xml")
    with pytest.raises(OutputError, match="no finished folder"):
        masks_of_folder(tmp_path)
