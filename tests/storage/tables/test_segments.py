from dataclasses import replace

import pytest

from plankseg.errors import ObjectCorruptError, ObjectMissingError, StoreError
from plankseg.storage.store import Store
from plankseg.storage.tables.segments import MEASURES, SegmentRow
from tests.support.store_locations import spoil

MODEL, JOB, SETTINGS = "a" * 64, "b" * 64, '{"views": "none"}'


def measures(number: int, **fields: object) -> dict[str, object]:
    return dict.fromkeys(MEASURES.names) | {"image_id": f"{number:064x}", "area_px": number} | fields


def shard(store: Store, number: int, rows: list[dict[str, object]], **fields: object) -> SegmentRow:
    row = SegmentRow(
        shard_id=f"{number:064x}",
        job=JOB,
        model_id=MODEL,
        settings=SETTINGS,
        images=len(rows),
        unreadable=sum(row["reason"] is not None for row in rows),
        measures_sha=store.segments.put_measures(rows),
    )
    return replace(row, **fields)


def test_measures_come_back_by_image_whatever_the_order_of_the_shards(root: str) -> None:
    store = Store.open(root)
    second, first = shard(store, 2, [measures(4), measures(3)]), shard(store, 1, [measures(1), measures(2)])
    assert store.segments.commit(second)
    assert store.segments.commit(first)
    table = store.segments.measures(store.segments.done(MODEL, SETTINGS))
    assert table.schema == MEASURES
    assert table["area_px"].to_pylist() == [1, 2, 3, 4]


def test_a_shard_is_recorded_once(root: str) -> None:
    store = Store.open(root)
    row = shard(store, 1, [measures(1)])
    assert store.segments.commit(row)
    assert not store.segments.commit(row)
    assert len(store.segments.done(MODEL, SETTINGS)) == 1


def test_other_models_and_other_ways_of_looking_are_others(root: str) -> None:
    store = Store.open(root)
    assert store.segments.done(MODEL, SETTINGS) == []
    store.segments.commit(shard(store, 1, [measures(1)]))
    store.segments.commit(shard(store, 2, [measures(1)], model_id="c" * 64))
    store.segments.commit(shard(store, 3, [measures(1)], settings='{"views": "recipe"}'))
    assert [row.shard_id for row in store.segments.done(MODEL, SETTINGS)] == [f"{1:064x}"]


def test_the_same_measures_have_the_same_bytes(root: str) -> None:
    one, other = Store.open(f"{root}/one"), Store.open(f"{root}/other")
    rows = [measures(n, mask_sha="d" * 64, perimeter_px=n / 3) for n in range(50)]
    sha = one.segments.put_measures(rows)
    assert other.segments.put_measures(rows) == sha
    assert one.blobs.get(sha, "parquet") == other.blobs.get(sha, "parquet")


def test_of_an_image_in_two_shards_the_one_that_was_read_counts(root: str) -> None:
    store = Store.open(root)
    lost = measures(1, area_px=None, reason="the file is gone")
    rows = [shard(store, 1, [lost]), shard(store, 2, [measures(1, area_px=7)]), shard(store, 3, [lost])]
    assert store.segments.measures(rows, columns=["area_px"]).to_pylist() == [{"area_px": 7}]
    assert store.segments.measures(rows[:1], columns=["reason"]).to_pylist() == [{"reason": "the file is gone"}]


def test_a_row_that_does_not_fit_is_refused(root: str) -> None:
    store = Store.open(root)
    with pytest.raises(StoreError, match="give exactly"):
        store.segments.put_measures([{"image_id": "x"}])
    with pytest.raises(StoreError, match="is no sha256"):
        shard(store, 1, [measures(1)], job="today")
    with pytest.raises(StoreError, match="is no JSON"):
        shard(store, 1, [measures(1)], settings="views")


def test_a_shard_without_its_measures_is_not_recorded(root: str) -> None:
    store = Store.open(root)
    with pytest.raises(ObjectMissingError, match="put_measures first"):
        store.segments.commit(replace(shard(store, 1, [measures(1)]), measures_sha="e" * 64))
    assert store.segments.done(MODEL, SETTINGS) == []


def test_damaged_measures_are_named(root: str) -> None:
    store = Store.open(root)
    row = shard(store, 1, [measures(1)])
    spoil(store.blobs.location(row.measures_sha, "parquet"), b"PAR1")
    with pytest.raises(ObjectCorruptError, match="restore it"):
        store.segments.measures([row])
    strange = replace(row, measures_sha=store.blobs.put(b"no parquet", "parquet"))
    with pytest.raises(StoreError, match="another plankseg"):
        store.segments.measures([strange])
