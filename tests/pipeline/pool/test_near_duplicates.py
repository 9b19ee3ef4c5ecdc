"""What is like the validation set is neither proposed, nor trained on, nor a reference: saved again, or resized."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from plankseg.config import Recipe, ValidationConfig
from plankseg.imaging.masks import encode_mask
from plankseg.imaging.reading import encode_grey
from plankseg.imaging.synthetic.generator import draw_sample
from plankseg.pipeline.ingest.register_images import IngestOptions, Role, ingest_folder
from plankseg.pipeline.loop.progress import read_progress
from plankseg.pipeline.pool.candidates import choosable
from plankseg.pipeline.pool.near_duplicates import complete_hashes, near_duplicate_ids, near_duplicates
from plankseg.storage.schemas import as_mappings
from plankseg.storage.store import Store
from tests.support.little_store import add_answers, square
from tests.support.near_copies import copies
from tests.support.tiny_recipe import TINY


def put(
    store: Store, folder: Path, role: Role, files: dict[str, bytes], *, masks: dict[str, bytes] | None = None
) -> None:
    for into, content in ((folder / role, files), (folder / f"{role}-masks", masks or {})):
        into.mkdir(parents=True, exist_ok=True)
        for name, data in content.items():
            (into / name).write_bytes(data)
    ingest_folder(
        store, folder / role, role=role, options=IngestOptions(masks=folder / f"{role}-masks" if masks else None)
    )


@pytest.fixture
def planted(tmp_path: Path) -> tuple[Store, set[str]]:
    """Two validation images handed in with masks, and three copies of each hidden in pool and source among others."""
    store = Store.open(tmp_path / "store")
    kept = [draw_sample("noisy", seed) for seed in (7, 8)]
    masks = {f"{n}.png": encode_mask(sample.mask) for n, sample in enumerate(kept)}
    put(
        store,
        tmp_path,
        "validation",
        {f"{n}.png": encode_grey(sample.grey) for n, sample in enumerate(kept)},
        masks=masks,
    )
    others = {f"other-{seed}.png": encode_grey(draw_sample("noisy", seed).grey) for seed in range(20, 26)}
    put(store, tmp_path, "pool", copies(kept[0].grey) | others)
    clean = [draw_sample("clean", seed) for seed in range(6)]
    given = {f"{n}.png": encode_mask(sample.mask) for n, sample in enumerate(clean)}
    twins = copies(kept[1].grey)
    given |= {name: encode_mask(square(Image.open(io.BytesIO(data)).size[::-1], 9)) for name, data in twins.items()}
    given = {Path(name).stem + ".png": mask for name, mask in given.items()}
    put(
        store,
        tmp_path,
        "source",
        {f"{n}.png": encode_grey(sample.grey) for n, sample in enumerate(clean)} | twins,
        masks=given,
    )
    names = {Path(name).stem for name in copies(kept[0].grey)}
    every = [row for role in ("pool", "source") for row in store.catalogue.rows(store.catalogue.ids(role))]  # type: ignore[arg-type]
    return store, {row.image_id for row in every if row.external_id in names}


def test_every_planted_copy_is_found_with_the_image_it_is_like(planted: tuple[Store, set[str]]) -> None:
    store, expected = planted
    found = near_duplicates(store, bits=6)
    assert {duplicate.image_id for duplicate in found} == expected
    assert len(expected) == 6
    assert {duplicate.role for duplicate in found} == {"source", "pool"}
    assert {duplicate.like for duplicate in found} == set(store.catalogue.ids("validation"))
    assert max(duplicate.bits_apart for duplicate in found) <= 6


def test_none_of_them_can_be_proposed(planted: tuple[Store, set[str]]) -> None:
    store, expected = planted
    assert not set(choosable(store)) & expected
    assert len(choosable(store)) == read_progress(store).pool_left == 6


def test_the_recipe_says_how_like_is_too_like(planted: tuple[Store, set[str]]) -> None:
    store, expected = planted
    recipe = Recipe(validation=ValidationConfig(near_duplicate_bits=20))
    assert len(choosable(store, recipe)) <= 6
    assert near_duplicate_ids(store, bits=20) >= expected


@pytest.mark.slow
def test_none_of_them_is_trained_on_nor_a_reference(planted: tuple[Store, set[str]]) -> None:
    from plankseg.pipeline.pool.style_references import _drawn
    from plankseg.pipeline.training.training_set import training_set

    store, expected = planted
    copy = sorted(expected & set(store.catalogue.ids("pool")))[0]
    add_answers(store, 1, [copy, choosable(store)[0]], mask=square((20, 20), 5))  # before the set was kept apart
    data = training_set(store, TINY, 1)
    assert not {example.image_id for example in data.examples} & expected
    assert data.corrections == 1
    assert len(data.left_out) == 4
    assert not set(_drawn(store, TINY)) & expected


def test_images_of_an_older_store_get_their_hash_once(planted: tuple[Store, set[str]], tmp_path: Path) -> None:
    store, expected = planted
    old = Store.open(tmp_path / "old")
    rows = [
        replace(row, phash=None)
        for role in ("validation", "pool", "source")
        for row in store.catalogue.rows(store.catalogue.ids(role))  # type: ignore[arg-type]
    ]
    old.tables.append("images", as_mappings(rows), ["of an older plankseg"])
    gone = next(row for row in rows if row.external_id == "other-20")
    old.catalogue.path(gone.image_id).unlink()
    assert near_duplicates(old, bits=6) == []
    assert complete_hashes(old) == 1
    assert near_duplicate_ids(old, bits=6) == expected
    version = old.tables.version("images")
    assert complete_hashes(old) == 1
    assert old.tables.version("images") == version


def test_without_a_validation_set_nothing_is_hashed_or_left_out(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    assert (complete_hashes(store), near_duplicates(store, bits=20)) == (0, [])
