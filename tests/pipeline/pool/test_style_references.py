"""Which images of the pool a training is shown as the target domain's style."""

import logging

import numpy as np
import pytest

from plankseg.config import Recipe
from plankseg.imaging.letterbox import Letterbox
from plankseg.pipeline.pool import style_references
from plankseg.pipeline.pool.style_references import reference_squares
from tests.support.little_store import add_answers, add_images, noisy_image, store_with
from tests.support.tiny_recipe import TINY

pytestmark = pytest.mark.slow


def recipe(**training: object) -> Recipe:
    changed = {"augmentation": "specialized", **training}
    return TINY.model_copy(update={"training": TINY.training.model_copy(update=changed)})


def squares_of(store, seeds) -> set[bytes]:
    return {Letterbox.of((34, 41), 32).apply(noisy_image(seed)).tobytes() for seed in seeds}


def drawn(store, **training: object) -> set[bytes]:
    squares = reference_squares(store, recipe(**training), 1)
    assert squares is not None
    return {square.tobytes() for square in squares}


def test_all_of_a_small_pool_and_nothing_else_in_squares_of_the_rounds_side(tmp_path):
    store = store_with(tmp_path, source=3, pool=5, validation=2)
    assert drawn(store) == squares_of(store, range(5))
    assert reference_squares(store, recipe(), 4).shape == (5, 64, 64)  # the side grows with the rounds


def test_a_composition_that_needs_none_reads_none(tmp_path):
    store = store_with(tmp_path, pool=2)
    assert reference_squares(store, recipe(augmentation="domain"), 0) is None


def test_an_empty_pool_gives_none_of_them(tmp_path):
    assert reference_squares(store_with(tmp_path, source=2), recipe(), 0).shape == (0, 32, 32)


def test_the_draw_follows_from_seed_and_pool_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(style_references, "REFERENCES", 6)
    store = store_with(tmp_path, pool=30)
    first = reference_squares(store, recipe(), 1)
    np.testing.assert_array_equal(first, reference_squares(store, recipe(), 1))
    other = store_with(tmp_path / "other")
    for seeds in (range(20, 30), range(20)):
        add_images(other, tmp_path / "other", "pool", seeds)
    np.testing.assert_array_equal(first, reference_squares(other, recipe(), 1))
    assert len({square.tobytes() for square in first}) == 6
    assert drawn(store) != drawn(store, seed=1)


def test_validation_images_and_what_a_person_called_unusable_are_never_drawn(tmp_path):
    store = store_with(tmp_path, pool=8)
    add_images(store, tmp_path, "validation", range(3))  # the same files, now to be measured on
    ids = {noisy_image(seed).tobytes(): seed for seed in range(8)}
    pool = {ids[store.catalogue.load(i).tobytes()]: i for i in store.catalogue.ids("pool")}
    assert sorted(pool) == [3, 4, 5, 6, 7]
    add_answers(store, 1, [pool[4]], status="unusable")
    add_answers(store, 1, [pool[5]], status="skipped")
    assert drawn(store) == squares_of(store, [3, 5, 6, 7])


def test_an_image_that_cannot_be_read_is_left_out_and_named(tmp_path, caplog):
    store = store_with(tmp_path, pool=4)
    lost = store.catalogue.ids("pool")[2]
    store.catalogue.path(lost).unlink()
    with caplog.at_level(logging.WARNING):
        assert len(drawn(store)) == 3
    assert lost in caplog.text
