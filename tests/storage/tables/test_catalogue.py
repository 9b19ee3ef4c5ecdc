"""Each image counts once, in the role that matters most, and its bytes are the ones that were catalogued."""

import pickle
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plankseg.errors import ImageReadError, ObjectCorruptError, ObjectMissingError, StoreError
from plankseg.storage.delta_tables import DeltaTables, Snapshot
from plankseg.storage.objects.blobs import sha256_of
from plankseg.storage.schemas import as_mappings
from plankseg.storage.tables import catalogue as catalogue_module
from plankseg.storage.tables.catalogue import Catalogue, DatasetPart, ImageRow
from tests.support.racing_processes import in_forked_child, race
from tests.support.store_locations import tables_at
from tests.support.table_rows import START, image, sha

DAY = timedelta(days=1)


@pytest.fixture
def catalogue(root: str) -> Catalogue:
    return Catalogue(tables_at(root))


def on_disk(path: Path, data: bytes, *, uri: str | None = None) -> ImageRow:
    path.write_bytes(data)
    return ImageRow(image_id=sha256_of(data), uri=uri or str(path), dataset="t", role="pool", width=5, height=4)


def png(seed: int = 0) -> bytes:
    grey = np.random.default_rng(seed).integers(0, 256, (4, 5), dtype=np.uint8)
    return bytes(cv2.imencode(".png", grey)[1])


def test_adding_twice_adds_once(catalogue: Catalogue) -> None:
    rows = [image(i) for i in range(5)]
    assert catalogue.add(rows) == 5
    assert catalogue.add(rows) == 0
    assert catalogue.add([*rows, image(5)]) == 1
    assert catalogue.ids("pool") == sorted(sha(i) for i in range(6))


def test_twins_in_one_call_are_one_image_and_the_first_one_counts(catalogue: Catalogue) -> None:
    assert catalogue.add([image("a", uri="/first"), image("a", uri="/second")]) == 1
    assert catalogue.row(sha("a")).uri == "/first"


def test_adding_a_known_image_again_changes_neither_its_place_nor_the_table(catalogue: Catalogue, root: str) -> None:
    catalogue.add([image("a", uri="/first")])
    version = tables_at(root).version("images")
    assert catalogue.add([image("a", uri="/second"), image("a", uri="/first")]) == 0
    assert tables_at(root).version("images") == version
    assert catalogue.row(sha("a")).uri == "/first"


def test_the_newest_place_of_an_image_counts_and_the_counts_stay(
    catalogue: Catalogue, root: str, tmp_path: Path
) -> None:
    row = on_disk(tmp_path / "a.png", b"first")
    catalogue.add([row, image("b", uri="/b")])
    assert not catalogue.is_lost(row.image_id)
    (tmp_path / "a.png").rename(tmp_path / "c.png")
    assert catalogue.is_lost(row.image_id)
    places = {row.image_id: str(tmp_path / "c.png"), sha("b"): "/b"}
    assert catalogue.move(places) == 1
    assert catalogue.move(places) == 0
    for seen in (catalogue, Catalogue(tables_at(root))):
        assert seen.read_bytes(row.image_id) == b"first"
        assert seen.path(row.image_id) == tmp_path / "c.png"
        assert not seen.is_lost(row.image_id)
        assert seen.row(row.image_id).uri == str(tmp_path / "c.png")
        assert seen.counts() == {"source": 0, "pool": 2, "validation": 0}
        assert seen.ids("pool") == sorted([row.image_id, sha("b")])
        assert len(seen.rows([row.image_id])) == 1
    assert catalogue.add([row]) == 0
    catalogue.move({row.image_id: row.uri})  # and back again
    assert catalogue.path(row.image_id) == tmp_path / "a.png"


def test_a_move_keeps_the_role_that_counts(catalogue: Catalogue) -> None:
    catalogue.add([image("a", "pool", uri="/pool"), image("a", "validation", uri="/validation")])
    assert catalogue.move({sha("a"): "/moved"}) == 1
    assert (catalogue.row(sha("a")).role, catalogue.row(sha("a")).uri) == ("validation", "/moved")
    assert catalogue.counts() == {"source": 0, "pool": 0, "validation": 1}
    with pytest.raises(ObjectMissingError, match="run ingest"):
        catalogue.move({sha("never seen"): "/x"})


def test_the_rows_of_many_images_are_found_in_one_reading_or_the_unknown_one_is_named(catalogue: Catalogue) -> None:
    catalogue.add(image(i) for i in range(4))
    assert {name: row.image_id for name, row in catalogue.rows_by_id([sha(3), sha(1)]).items()} == {
        sha(1): sha(1),
        sha(3): sha(3),
    }
    with pytest.raises(ObjectMissingError, match=sha(9)):
        catalogue.rows_by_id([sha(1), sha(9)])


def test_chunks_make_no_difference(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue_module, "CHUNK_ROWS", 3)
    assert catalogue.add(image(i % 8) for i in range(16)) == 8
    assert catalogue.counts() == {"source": 0, "pool": 8, "validation": 0}


def add_some(root: str, seed: int) -> int:
    numbers = list(range(30))
    random.Random(seed).shuffle(numbers)
    return Catalogue(tables_at(root)).add([image(i) for i in numbers[:20]])


@pytest.mark.slow
def test_overlapping_ingests_at_the_same_time_record_each_image_once(root: str) -> None:
    added = race(add_some, [(root, seed) for seed in range(4)])
    ids = tables_at(root).read("images")["image_id"].to_pylist()
    assert len(ids) == len(set(ids)) == sum(added)
    assert set(ids) == {sha(i) for seed in range(4) for i in _first_twenty(seed)}


def _first_twenty(seed: int) -> list[int]:
    numbers = list(range(30))
    random.Random(seed).shuffle(numbers)
    return numbers[:20]


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    pairs=st.lists(
        st.tuples(st.integers(0, 6), st.sampled_from(["source", "pool", "validation"])), min_size=1, max_size=8
    )
)
def test_validation_wins_over_source_and_source_over_pool(root: str, pairs: list[tuple[int, str]]) -> None:
    catalogue = Catalogue(tables_at(f"{root}/{uuid4().hex}"))
    for name, role in pairs:
        catalogue.add([image(name, role)])
    expected = {}
    for name in {name for name, _ in pairs}:
        given_roles = [role for other, role in pairs if other == name]
        expected[sha(name)] = next(role for role in ("validation", "source", "pool") if role in given_roles)
    assert catalogue.roles() == expected
    assert list(catalogue.roles()) == sorted(expected)
    assert {role: catalogue.ids(role) for role in ("source", "pool", "validation")} == {
        role: sorted(name for name, other in expected.items() if other == role)
        for role in ("source", "pool", "validation")
    }
    assert catalogue.counts() == {
        role: list(expected.values()).count(role) for role in ("source", "pool", "validation")
    }
    assert {row.image_id: row.role for row in catalogue.rows(expected)} == expected


def test_an_empty_catalogue_has_no_images(catalogue: Catalogue) -> None:
    assert catalogue.roles() == {}
    assert catalogue.counts() == {"source": 0, "pool": 0, "validation": 0}
    assert catalogue.add([]) == 0
    with pytest.raises(ObjectMissingError, match="run ingest"):
        catalogue.row(sha("a"))
    with pytest.raises(ObjectMissingError, match="run ingest"):
        catalogue.read_bytes(sha("a"))


def test_a_row_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(StoreError, match="role is 'pond'"):
        image("a", "pond")
    with pytest.raises(StoreError, match="no sha256"):
        ImageRow(image_id="a.jpg", uri="/a", dataset="t", role="pool", width=1, height=1)
    with pytest.raises(StoreError, match="0 x 30 px"):
        image("a", width=0)


def test_bytes_come_from_paths_and_file_addresses(catalogue: Catalogue, tmp_path: Path) -> None:
    plain = on_disk(tmp_path / "a b#c?.png", b"first")
    addressed = on_disk(tmp_path / "ü d.png", b"second", uri=(tmp_path / "ü d.png").as_uri())
    catalogue.add([plain])
    assert catalogue.read_bytes(plain.image_id) == b"first"
    catalogue.add([addressed])  # added after the first look: found as well
    assert catalogue.read_bytes(addressed.image_id) == b"second"


def test_a_changed_file_is_never_taken_for_the_catalogued_one(catalogue: Catalogue, tmp_path: Path) -> None:
    row = on_disk(tmp_path / "a.png", b"first")
    catalogue.add([row])
    Path(row.uri).write_bytes(b"other")
    with pytest.raises(ObjectCorruptError, match="has changed"):
        catalogue.read_bytes(row.image_id)
    Path(row.uri).unlink()
    with pytest.raises(ObjectMissingError, match=r"a\.png is not there any more"):
        catalogue.read_bytes(row.image_id)


@pytest.mark.parametrize("uri", ["http://127.0.0.1/a.png", "file://elsewhere/a.png"])
def test_other_addresses_are_refused_with_a_reason(catalogue: Catalogue, uri: str) -> None:
    catalogue.add([image("a", uri=uri)])
    with pytest.raises(StoreError, match=r"give a path or a file://.* or s3://"):
        catalogue.read_bytes(sha("a"))


def test_a_folder_or_an_impossible_path_is_a_store_error(catalogue: Catalogue, tmp_path: Path) -> None:
    catalogue.add([image("a", uri=str(tmp_path)), image("b", uri="/a\0b")])
    for name in "ab":
        with pytest.raises(StoreError, match="Cannot read image"):
            catalogue.read_bytes(sha(name))


def test_images_are_loaded_grey_and_broken_ones_say_so(catalogue: Catalogue, tmp_path: Path) -> None:
    good, broken = on_disk(tmp_path / "a.png", png()), on_disk(tmp_path / "b.png", b"no image")
    catalogue.add([good, broken])
    expected = np.random.default_rng(0).integers(0, 256, (4, 5), dtype=np.uint8)
    np.testing.assert_array_equal(catalogue.load(good.image_id), expected)
    with pytest.raises(ImageReadError):
        catalogue.load(broken.image_id)


def load_in_a_forked_child(root: str, image_id: str) -> bytes:
    loader = pickle.loads(pickle.dumps(Catalogue(tables_at(root)).loader([image_id])))
    return in_forked_child(lambda: loader(image_id).tobytes())


def test_a_loader_works_in_forked_workers_where_tables_do_not(root: str, tmp_path: Path) -> None:
    catalogue, row = Catalogue(tables_at(root)), on_disk(tmp_path / "a.png", png())
    catalogue.add([row])
    [sent] = race(load_in_a_forked_child, [(root, row.image_id)])
    assert sent == catalogue.load(row.image_id).tobytes()
    with pytest.raises(ObjectMissingError):
        catalogue.loader([row.image_id])(sha("another"))


def test_places_are_found_for_every_image_and_no_other(catalogue: Catalogue) -> None:
    catalogue.add([image(i) for i in range(0, 200, 2)])
    uris = catalogue.loader([sha(i) for i in range(0, 200, 2)]).uris
    assert uris == {sha(i): f"/nowhere/{i}.jpg" for i in range(0, 200, 2)}
    for i in range(1, 200, 40):
        with pytest.raises(ObjectMissingError):
            catalogue.loader([sha(i)])


def test_a_part_of_the_catalogue_is_told_by_the_row_that_counts(catalogue: Catalogue) -> None:
    assert catalogue.matching() == []
    catalogue.add([image("a", taxon="egg"), image("b", dataset="other"), image("c", "source", taxon="egg")])
    catalogue.add([image("a", "validation", dataset="kept")])  # wins over the pool: neither taxon nor set of before
    every = [sha(name) for name in "abc"]
    assert catalogue.matching() == sorted(every)
    assert catalogue.matching(role="validation") == [sha("a")]
    assert catalogue.matching(role="pool") == [sha("b")]
    assert catalogue.matching(taxon="egg") == [sha("c")]
    assert catalogue.matching(dataset="kept") == [sha("a")]
    assert catalogue.matching(role="source", dataset="test", taxon="egg") == [sha("c")]
    assert catalogue.matching(role="pool", taxon="egg") == []


def test_hashes_are_recorded_once_and_read_by_the_role_that_counts(catalogue: Catalogue) -> None:
    catalogue.add([image("a"), image("b"), image("c", phash="0" * 16), image("c", "validation")])
    assert catalogue.record_hashes({sha("a"): "1" * 16, sha("c"): "f" * 16}) == 2
    assert catalogue.record_hashes({sha("a"): "2" * 16}) == 0
    assert catalogue.hashes("pool") == dict(sorted({sha("a"): "1" * 16, sha("b"): None}.items()))
    assert catalogue.hashes("validation") == {sha("c"): "f" * 16}
    assert catalogue.row(sha("a")).uri == "/nowhere/a.jpg"
    with pytest.raises(ObjectMissingError, match="not in the catalogue"):
        catalogue.record_hashes({sha("never seen"): "1" * 16})


def test_an_image_stays_in_the_half_it_was_put_into(catalogue: Catalogue) -> None:
    catalogue.add([image("a", "validation"), image("b", "validation")])
    assert catalogue.record_halves({sha("a"): "test"}) == 1
    assert catalogue.record_halves({sha("a"): "selection", sha("b"): "selection"}) == 1
    catalogue.move({sha("a"): "/moved/a.jpg"})
    assert [catalogue.row(sha(name)).half for name in "ab"] == ["test", "selection"]
    with pytest.raises(StoreError, match="half is 'third'; it can be selection, test"):
        image("a", half="third")


def test_the_ids_of_a_role_have_the_images_that_count_in_it_and_no_others(catalogue: Catalogue) -> None:
    assert len(catalogue.ids("pool")) == 0
    assert sha("a") not in catalogue.ids("pool")
    catalogue.add([image(name, role="pool") for name in "dbca"])
    catalogue.add([image("b", role="validation"), image("x", role="source")])
    found = catalogue.ids("pool")
    assert [sha(name) in found for name in "abcdx"] == [True, False, True, True, False]
    assert (len(found), len(catalogue.ids("validation"))) == (3, 1)


def test_ids_that_begin_alike_are_told_apart(catalogue: Catalogue) -> None:
    """No two sha256 begin with the same 16 digits; should they, no image is lost or taken for the other."""
    alike = ["ab" * 8 + tail * 48 for tail in "3142"]
    catalogue.add([replace(image("a", uri=f"/{name[-1]}"), image_id=name) for name in (*alike, *alike[:2])])
    catalogue.add([replace(image("a", "validation", uri="/v"), image_id=alike[2], added_at=START + DAY)])
    assert catalogue.ids("pool") == sorted(alike[:2] + alike[3:])
    assert catalogue.roles() == {name: "validation" if name == alike[2] else "pool" for name in sorted(alike)}
    uris = {name: f"/{name[-1]}" for name in alike} | {alike[2]: "/v"}
    assert catalogue.loader(alike).uris == uris
    assert [str(catalogue.path(name)) for name in alike] == [uris[name] for name in alike]


def test_a_place_that_is_recorded_after_the_first_look_is_found_as_well(catalogue: Catalogue) -> None:
    catalogue.add([image("a")])
    assert catalogue.loader([sha("a")]).uris == {sha("a"): "/nowhere/a.jpg"}
    assert str(catalogue.path(sha("a"))) == "/nowhere/a.jpg"
    catalogue.add([image("b")])
    assert catalogue.loader([sha("b"), sha("a")]).uris == {sha(name): f"/nowhere/{name}.jpg" for name in "ab"}
    with pytest.raises(ObjectMissingError, match="run ingest"):
        catalogue.loader([sha("c")])


def test_roles_and_hashes_are_read_once_for_each_version_and_from_their_own_columns(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 1.4 million images that is the difference between a second and a minute."""
    asked: list[list[str]] = []
    batches = Snapshot.batches

    def seen(snapshot: Snapshot, columns: Sequence[str], *more: Any) -> Iterator[Any]:
        asked.append(list(columns))
        return batches(snapshot, columns, *more)

    monkeypatch.setattr(Snapshot, "batches", seen)
    monkeypatch.setattr(DeltaTables, "read", lambda *_, **__: pytest.fail("a whole table was read"))
    catalogue.add(image(i, phash="0" * 16) for i in range(5))
    for _ in range(3):
        assert len(catalogue.ids("pool")) == catalogue.counts()["pool"] == len(catalogue.hashes("pool")) == 5
    assert asked == [["image_id", "role", "phash"]]
    catalogue.add([image("more")])
    assert len(catalogue.ids("pool")) == 6
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [("image_id", "ab", "not 64 digits"), ("phash", "ab", "not 16 digits"), ("role", "pond", "other than validation")],
)
def test_a_damaged_catalogue_is_named(catalogue: Catalogue, root: str, column: str, value: str, message: str) -> None:
    tables_at(root).append("images", [as_mappings([image("a")])[0] | {column: value}], ["one"])
    with pytest.raises(StoreError, match=f"{message}.*restore it from a backup"):
        catalogue.ids("pool")


def test_each_data_set_is_counted_with_its_taxa_in_the_role_that_counts(catalogue: Catalogue) -> None:
    assert catalogue.datasets() == []
    catalogue.add([image("a", dataset="zoo", taxon="egg"), image("b", dataset="zoo", taxon="egg")])
    catalogue.add([image("c", dataset="zoo", taxon=None), image("d", dataset="flow", taxon="salp")])
    catalogue.add([image("a", dataset="zoo", taxon="egg", role="validation")])
    assert catalogue.datasets() == [
        DatasetPart("validation", "zoo", images=1, taxa=1),
        DatasetPart("pool", "flow", images=1, taxa=1),
        DatasetPart("pool", "zoo", images=2, taxa=1),
    ]
