"""The validation set is split once, evenly, and for ever; the test half is what nothing else sees."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from plankseg.pipeline.pool.validation_split import Halves, fix_halves, halves
from plankseg.storage.store import Store
from plankseg.storage.tables.catalogue import ImageRow
from tests.support.little_store import add_answers, square, store_with

MASK = square((9, 9), 4)


def add_validation(store: Store, taxa: list[str | None], *, first: int = 0) -> list[str]:
    """Rows of the validation set with a mask by hand; only rows, nothing here looks at pixels."""
    ids = [f"{first + number:064x}" for number in range(len(taxa))]
    store.catalogue.add(
        ImageRow(
            image_id=i,
            uri=f"/nowhere/{i}",
            dataset="t",
            role="validation",
            width=9,
            height=9,
            taxon=taxon,
            phash="0" * 16,
        )
        for i, taxon in zip(ids, taxa, strict=True)
    )
    add_answers(store, 0, ids, mask=MASK)
    return ids


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def test_two_images_of_each_taxon_go_one_to_each_half(store: Store) -> None:
    taxa = [f"taxon {n // 2}" for n in range(40)]
    ids = add_validation(store, taxa)
    found = halves(store)
    assert (len(found.selection), len(found.test)) == (20, 20)
    assert sorted((*found.selection, *found.test)) == ids
    taxon = dict(zip(ids, taxa, strict=True))
    assert {taxon[i] for i in found.selection} == {taxon[i] for i in found.test} == set(taxa)


@pytest.mark.parametrize("count", [4, 5, 9, 30])
def test_taxa_with_one_image_and_images_without_taxon_are_shared_evenly(store: Store, count: int) -> None:
    add_validation(store, [*(f"taxon {n}" for n in range(count - 2)), None, None])
    found = halves(store)
    assert abs(len(found.selection) - len(found.test)) <= 1


def test_looking_writes_nothing_and_fixing_twice_writes_once(store: Store) -> None:
    add_validation(store, ["a"] * 6)
    before = store.tables.version("images")
    looked = halves(store)
    assert store.tables.version("images") == before
    assert fix_halves(store) == looked
    written = store.tables.version("images")
    assert written == before + 1
    assert fix_halves(store) == looked == halves(store)
    assert store.tables.version("images") == written


def test_an_image_never_changes_its_half_whatever_comes_later(store: Store) -> None:
    rng = np.random.default_rng(3)
    known: dict[str, str] = {}
    first = 0
    for size in (5, 1, 7, 3, 20):
        add_validation(store, [f"taxon {rng.integers(4)}" for _ in range(size)], first=first)
        first += size
        found = fix_halves(store)
        now = dict.fromkeys(found.selection, "selection") | dict.fromkeys(found.test, "test")
        assert known.items() <= now.items()
        assert abs(len(found.selection) - len(found.test)) <= 4
        known = now
    add_answers(store, 0, found.test[:1], status="unusable")
    assert not set(halves(store).test) & set(found.test[:1])


def test_fewer_than_four_images_all_choose_and_stay_choosing_when_more_come(store: Store) -> None:
    few = add_validation(store, ["a", "a", "b"])
    assert fix_halves(store) == Halves(selection=tuple(few), test=())
    more = add_validation(store, ["a", "a", "b"], first=10)
    found = fix_halves(store)
    assert set(few) <= set(found.selection)
    assert set(found.test) == set(more)


def test_images_without_a_usable_mask_belong_to_no_half(store: Store) -> None:
    ids = add_validation(store, ["a"] * 6)
    add_answers(store, 0, ids[:1], status="unusable")
    store.catalogue.add([replace(store.catalogue.row(ids[1]), image_id="f" * 64)])  # nobody answered it yet
    found = halves(store)
    assert sorted((*found.selection, *found.test)) == ids[1:]


def test_a_validation_set_that_was_handed_in_with_masks_is_split_too(tmp_path: Path) -> None:
    store = store_with(tmp_path, validation=6)
    found = halves(store)
    assert (len(found.selection), len(found.test)) == (3, 3)
    assert sorted((*found.selection, *found.test)) == store.catalogue.ids("validation")


def test_no_validation_set_has_no_halves(store: Store) -> None:
    assert fix_halves(store) == Halves((), ())
