"""Handed-in masks as a person's answers: they leave first, are learnt from, and never replace a later answer."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from plankseg.errors import SettingsError
from plankseg.imaging.masks import decode_mask
from plankseg.imaging.measures.ifcb_features import COLUMNS
from plankseg.imaging.reading import encode_grey
from plankseg.pipeline.exports.mask_records import masks_of_store
from plankseg.pipeline.exports.write_masks import write_masks
from plankseg.pipeline.ingest.given_answers import GivenAnswers
from plankseg.pipeline.ingest.register_images import IngestOptions, ingest_folder
from plankseg.storage.store import Store
from tests.support.little_store import add_answers, noisy_image, square, store_with, write_images

BY_ANNA = IngestOptions(annotator="anna")


def write_masks_for(folder: Path, sizes: dict[int, int]) -> Path:
    """A mask for the image of each seed: a square of this many pixels a side."""
    folder.mkdir(parents=True)
    for seed, size in sizes.items():
        mask = square(noisy_image(seed).shape, size)
        (folder / f"{seed:04d}.png").write_bytes(encode_grey(mask.astype(np.uint8) * 255))
    return folder


def test_masks_of_a_named_person_leave_first_and_are_learnt_from_in_the_next_round(tmp_path: Path) -> None:
    images, masks = write_images(tmp_path / "pool", range(3)), write_masks_for(tmp_path / "masks", {0: 5, 1: 0, 2: 9})
    store = Store.open(tmp_path / "store")
    options = replace(BY_ANNA, masks=masks)
    report = ingest_folder(store, images, role="pool", options=options)
    assert (report.added, report.masks, report.problems) == (3, 3, [])
    labels = store.labels.current()
    assert {(row.annotator, row.status, row.round) for row in labels} == {("anna", "usable", 1)}
    assert sorted(row.origin for row in labels) == ["drawn", "drawn", "empty"]
    assert all(row.by_person and row.mask_sha for row in labels)
    taken = {record.path: (record.origin, int(record.mask.sum())) for record in masks_of_store(store).records}
    assert taken == {"0000.png": ("drawn", 25), "0001.png": ("empty", 0), "0002.png": ("drawn", 81)}
    version = store.labels.version()
    assert ingest_folder(store, images, role="pool", options=options).masks == 0
    assert store.labels.version() == version, "handed in again, nothing is added"


def test_an_image_that_a_person_answered_keeps_that_answer(tmp_path: Path) -> None:
    store = store_with(tmp_path, pool=2)
    (answered, other) = store.catalogue.ids("pool")
    add_answers(store, 1, [answered], mask=square((34, 41), 3))
    before = {row.image_id: row for row in store.labels.current()}
    options = replace(BY_ANNA, masks=write_masks_for(tmp_path / "masks", {0: 5, 1: 6}))
    ingest_folder(store, tmp_path / "pool", role="pool", options=options)
    now = {row.image_id: row for row in store.labels.current()}
    assert now[answered] == before[answered]
    assert now[other].annotator == "anna"


def test_given_masks_become_a_persons_where_the_person_is_named_later(tmp_path: Path) -> None:
    images, masks = write_images(tmp_path / "pool", range(2)), write_masks_for(tmp_path / "masks", {0: 5, 1: 6})
    store = Store.open(tmp_path / "store")
    ingest_folder(store, images, role="validation", options=IngestOptions(masks=masks))
    assert not any(row.by_person for row in store.labels.current())
    ingest_folder(store, images, role="validation", options=replace(BY_ANNA, masks=masks))
    assert {(row.annotator, row.round) for row in store.labels.current()} == {("anna", 0)}


def test_a_person_without_masks_is_refused(tmp_path: Path) -> None:
    images = write_images(tmp_path / "pool", range(2))
    with pytest.raises(SettingsError, match="'anna' made no masks"):
        ingest_folder(Store.open(tmp_path / "store"), images, role="pool", options=BY_ANNA)


def test_they_count_from_the_round_that_is_trained_next(tmp_path: Path) -> None:
    store = store_with(tmp_path, pool=2)
    assert GivenAnswers.of(store, "pool", "anna").round == 1
    assert GivenAnswers.of(store, "validation", "anna").round == 0


def test_a_real_bin_with_the_masks_of_ifcb_features_has_its_figures(real_data: Path, tmp_path: Path) -> None:
    data = real_data / "ifcb-mit"
    name = "IFCB5_2012_028_081515"
    store = Store.open(tmp_path / "store")
    options = IngestOptions(masks=data / "golden" / f"{name}_blobs_v4.zip", annotator="ifcb-features")
    report = ingest_folder(store, data / "data", role="pool", options=options)
    assert (report.added, report.masks, len(report.problems)) == (5, 5, 1), "beside it lies an empty bin"
    write_masks(masks_of_store(store, only="people"), "ifcb", tmp_path / "features.csv")
    with (tmp_path / "features.csv").open(newline="") as file:
        found = {row["path"].rpartition("/")[2]: row for row in csv.DictReader(file)}
    with (data / "golden" / f"{name}_features_v4.csv").open(newline="") as file:
        expected = {f"{name}_{int(row['roi_number']):05d}.png": row for row in csv.DictReader(file)}
    assert found.keys() == expected.keys()
    for path, row in expected.items():
        figures = {column: float(found[path][column]) for column in COLUMNS}
        assert figures == pytest.approx({column: float(row[column]) for column in COLUMNS}, rel=1e-4)
    for image_id in store.catalogue.ids("pool"):
        row = store.catalogue.row(image_id)
        assert store.catalogue.load(image_id).shape == (row.height, row.width)
        assert decode_mask(store.blobs.get(str(_mask_sha(store, image_id)), "png")).shape == (row.height, row.width)


def _mask_sha(store: Store, image_id: str) -> str | None:
    return next(row.mask_sha for row in store.labels.current() if row.image_id == image_id)
