import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from plankseg.config import Part, SegmentConfig
from plankseg.errors import EmptyPoolError, StoreError
from plankseg.imaging.masks import decode_mask, largest_component
from plankseg.imaging.postprocessing import Postprocessing
from plankseg.imaging.shape import measure_shape
from plankseg.pipeline.archive import shards
from plankseg.pipeline.archive.segment import segment_shard
from plankseg.pipeline.archive.shards import SegmentationJob, plan, plans
from plankseg.pipeline.ingest.register_images import ingest_folder
from plankseg.pipeline.models import loading
from plankseg.storage.store import Store
from plankseg.storage.tables.models import ModelRow
from tests.support.little_store import add_images, add_model, noisy_image, store_with, write_images

pytestmark = pytest.mark.slow
FIVES = SegmentConfig(shard_size=5)


@pytest.fixture
def store(tmp_path: Path, weights: bytes) -> Iterator[Store]:
    store = store_with(tmp_path, pool=12, source=2)
    add_model(store, 0, weights=weights)
    yield store
    loading.clear_cache()


def model_of(store: Store) -> ModelRow:
    model = store.models.active()
    assert model is not None
    return model


def planned(store: Store, part: Part = Part(), config: SegmentConfig = FIVES) -> SegmentationJob:  # noqa: B008  (frozen)
    return plan(store, part, config, model_of(store))


def do(store: Store, job: SegmentationJob) -> list[str]:
    return [segment_shard(store, shard, device="cpu").measures_sha for shard in job.todo]


def all_measures(store: Store, job: SegmentationJob) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = store.segments.measures(
        store.segments.done(job.model.model_id, job.settings)
    ).to_pylist()
    return rows


def test_every_image_is_segmented_once_and_a_finished_job_has_nothing_left(store: Store) -> None:
    job = planned(store)
    assert [len(shard.image_ids) for shard in job.todo] == [5, 5, 4]
    do(store, job)
    rows = all_measures(store, job)
    assert [row["image_id"] for row in rows] == list(job.image_ids) == sorted(store.catalogue.roles())
    again = planned(store)
    assert (again.job, again.todo, again.total) == (job.job, (), 3)


def test_masks_and_measures_belong_together(store: Store) -> None:
    job = planned(store)
    do(store, job)
    for row in all_measures(store, job):
        grey = store.catalogue.load(str(row["image_id"]))
        mask = decode_mask(store.blobs.get(str(row["mask_sha"]), "png"), shape=(grey.shape[0], grey.shape[1]))
        assert (row["height"], row["width"]) == grey.shape
        found = measure_shape(mask)
        assert (row["area_px"], row["parts"], row["empty"]) == (found.area_px, found.parts, found.empty)
        assert row["feret_px"] == found.feret_px
        assert row["reason"] is None
        assert (row["confidence"] is None) == found.empty


def test_masks_are_postprocessed_as_the_model_was_judged(store: Store, tmp_path: Path, weights: bytes) -> None:
    other = store_with(tmp_path / "other", pool=12, source=2)
    filled = Postprocessing(fill_holes=True, largest_only=True)
    add_model(other, 0, weights=weights, metrics=json.dumps({"postprocessing": asdict(filled)}))
    found = []
    for some_store in (store, other):
        job = planned(some_store)
        do(some_store, job)
        found.append(
            {
                row["image_id"]: decode_mask(some_store.blobs.get(str(row["mask_sha"]), "png"))
                for row in all_measures(some_store, job)
            }
        )
    plain, changed = found
    assert any(not np.array_equal(plain[i], changed[i]) for i in plain)
    assert all(np.array_equal(filled(plain[i]), changed[i]) for i in plain)


def test_a_shard_that_was_lost_is_done_again_with_the_same_bytes(store: Store, tmp_path: Path) -> None:
    shutil.copytree(store.root, tmp_path / "calm")
    calm = Store.open(tmp_path / "calm")
    undisturbed = do(calm, planned(calm))
    job = planned(store)
    first = segment_shard(store, job.todo[1], device="cpu").measures_sha  # out of order, as workers do
    rest = planned(store)
    assert [shard.shard_id for shard in rest.todo] == [job.todo[0].shard_id, job.todo[2].shard_id]
    others = do(store, rest)
    assert [others[0], first, others[1]] == undisturbed


def test_a_shard_done_twice_is_recorded_once(store: Store) -> None:
    job = planned(store)
    once, twice = (segment_shard(store, job.todo[0], device="cpu") for _ in range(2))
    assert once.measures_sha == twice.measures_sha
    assert len(store.segments.done(job.model.model_id, job.settings)) == 1


def test_images_that_come_later_are_done_alone(store: Store, tmp_path: Path) -> None:
    do(store, planned(store))
    add_images(store, tmp_path, "pool", range(500, 507))
    job = planned(store)
    assert [len(shard.image_ids) for shard in job.todo] == [5, 2]
    assert len(job.image_ids) == 21
    do(store, job)
    assert planned(store).todo == ()
    assert len(all_measures(store, job)) == 21


def test_a_part_is_a_role_a_data_set_or_a_taxon(store: Store) -> None:
    assert len(planned(store, Part(role="source")).image_ids) == 2
    assert len(planned(store, Part(dataset="pool")).image_ids) == 12
    with pytest.raises(EmptyPoolError, match="taxon 'Copepoda'"):
        planned(store, Part(taxon="Copepoda"))


def test_another_way_of_looking_is_another_job(store: Store) -> None:
    do(store, planned(store))
    plain = planned(store, config=SegmentConfig(shard_size=5, views="none"))
    assert len(plain.todo) == 3
    do(store, plain)
    assert {row["agreement"] for row in all_measures(store, plain)} == {None}
    assert all(isinstance(row["agreement"], float) for row in all_measures(store, planned(store)))
    assert planned(store, config=SegmentConfig(shard_size=7)).todo == (), "the size of shards makes no mask another"


def test_the_largest_part_can_be_kept_alone(store: Store) -> None:
    do(store, whole := planned(store))
    do(store, one_part := planned(store, config=SegmentConfig(shard_size=5, largest_part=True)))
    assert json.loads(one_part.settings)["largest_part"] is True
    for row, cut in zip(all_measures(store, whole), all_measures(store, one_part), strict=True):
        mask = decode_mask(store.blobs.get(str(row["mask_sha"]), "png"))
        assert np.array_equal(decode_mask(store.blobs.get(str(cut["mask_sha"]), "png")), largest_component(mask))
        assert cut["parts"] == min(1, int(str(row["parts"])))


def test_an_image_that_is_gone_is_named_and_done_once_it_is_back(store: Store) -> None:
    lost = planned(store).image_ids[3]
    path = store.catalogue.path(lost)
    aside = path.rename(path.with_suffix(".aside"))
    job = planned(store)
    do(store, job)
    row = all_measures(store, job)[3]
    assert row["image_id"] == lost
    assert "not there any more" in str(row["reason"])
    assert row["mask_sha"] is None
    assert planned(store).todo == (), "while it is gone nothing is to do"
    aside.rename(path)
    back = planned(store)
    assert [shard.image_ids for shard in back.todo] == [(lost,)]
    do(store, back)
    assert all_measures(store, job)[3]["reason"] is None
    assert planned(store).todo == ()


def test_shards_of_another_size_do_not_try_again_what_still_cannot_be_read(store: Store) -> None:
    lost = planned(store).image_ids[3]
    path = store.catalogue.path(lost)
    aside = path.rename(path.with_suffix(".aside"))
    do(store, planned(store))
    assert planned(store, config=SegmentConfig(shard_size=7)).todo == ()
    aside.rename(path)
    assert [shard.image_ids for shard in planned(store, config=SegmentConfig(shard_size=7)).todo] == [(lost,)]


def test_without_a_size_a_first_small_shard_finds_the_speed_and_the_rest_is_cut_by_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "SMALLEST_SHARD", 3)
    monkeypatch.setattr(shards, "FEWEST_SHARDS", 2)
    model, sizes = model_of(store), []
    for job in plans(store, Part(), SegmentConfig(), model):
        sizes.append([len(shard.image_ids) for shard in job.todo])
        do(store, job)
    assert sizes == [[3], [7, 4]]
    assert [row["image_id"] for row in all_measures(store, job)] == sorted(store.catalogue.roles())
    assert [plan.todo for plan in plans(store, Part(), SegmentConfig(), model)] == [()]


def test_a_slow_model_has_small_shards(store: Store) -> None:
    job = planned(store)
    row = segment_shard(store, job.todo[0], device="cpu")
    assert shards._measured_size(1_400_000, [replace(row, images=2000, seconds=1000.0)]) == 120
    assert shards._measured_size(1_400_000, [replace(row, images=2000, seconds=4.0)]) == 29_167
    assert shards._measured_size(1_400_000, []) == shards.SMALLEST_SHARD


def test_a_shard_without_any_image_is_not_done(store: Store) -> None:
    job = planned(store)
    for image_id in job.todo[0].image_ids:
        store.catalogue.path(image_id).unlink()
    with pytest.raises(StoreError, match="None of 5 images can be read"):
        segment_shard(store, job.todo[0], device="cpu")
    assert planned(store).todo == job.todo


def test_sizes_from_one_pixel_to_two_thousand_go_through_one_shard(store: Store, tmp_path: Path) -> None:
    shapes = [(1, 1), (11, 90), (2000, 40), (2000, 2000), (3, 700)]
    images = write_images(tmp_path / "odd", range(5), draw=lambda seed: noisy_image(seed, shapes[seed]))
    ingest_folder(store, images, role="pool")
    job = planned(store, Part(dataset="odd"))
    do(store, job)
    assert {(row["height"], row["width"]) for row in all_measures(store, job)} == set(shapes)
