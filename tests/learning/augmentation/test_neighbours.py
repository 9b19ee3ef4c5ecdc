"""Objects of others pasted as ground."""

import numpy as np
import pytest

from plankseg.learning.augmentation.neighbours import paste_neighbours

SIDE = 48


def disc(row: float, column: float, radius: float, side: int = SIDE) -> np.ndarray:
    rows, columns = np.mgrid[:side, :side]
    return (rows - row) ** 2 + (columns - column) ** 2 <= radius**2


def pair(mask: np.ndarray, dark: int = 80, ground: int = 240) -> tuple[np.ndarray, np.ndarray]:
    return np.where(mask, dark, ground).astype(np.uint8), mask


OTHERS = [pair(disc(20, 20, 8)), pair(disc(30, 12, 5, side=40), dark=150)]


@pytest.mark.parametrize("seed", range(30))
def test_the_object_keeps_every_pixel_and_the_ground_gets_only_darker(seed: int) -> None:
    square, mask = pair(disc(24, 24, 9), dark=120)
    pasted = paste_neighbours(square, mask, OTHERS, np.random.default_rng(seed))
    assert (pasted.dtype, pasted.shape) == (np.uint8, square.shape)
    assert np.array_equal(pasted[mask], square[mask])
    assert (pasted <= square).all()


def test_it_is_a_function_of_the_generator_and_leaves_its_arguments_alone() -> None:
    square, mask = pair(disc(24, 24, 9))
    before = square.copy(), mask.copy(), [(grey.copy(), shape.copy()) for grey, shape in OTHERS]
    first, again, other = (paste_neighbours(square, mask, OTHERS, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.array_equal(square, before[0])
    assert np.array_equal(mask, before[1])
    for (grey, shape), (old, old_shape) in zip(OTHERS, before[2], strict=True):
        assert np.array_equal(grey, old)
        assert np.array_equal(shape, old_shape)


def test_neighbours_come_to_touch_the_object_and_at_most_a_part_of_each_lies_behind_it() -> None:
    square, mask = pair(disc(24, 24, 9))
    around = disc(24, 24, 10.5) & ~mask
    touching = sum(
        bool((paste_neighbours(square, mask, OTHERS, np.random.default_rng(seed)) < square)[around].any())
        for seed in range(40)
    )
    assert touching > 10
    everywhere = np.ones((SIDE, SIDE), bool)
    assert np.array_equal(paste_neighbours(square, everywhere, OTHERS, np.random.default_rng(0)), square)


@pytest.mark.parametrize(
    "other",
    [
        pair(np.zeros((32, 32), bool)),
        pair(np.ones((32, 32), bool)),
        pair(disc(16, 16, 6, side=32), dark=250, ground=240),
        pair(disc(16, 16, 6, side=32), dark=0, ground=0),
        pair(disc(0, 0, 0.5, side=96)),
    ],
    ids=["empty", "full", "brighter than its ground", "black", "one pixel"],
)
def test_odd_objects_are_pasted_or_left_out(other: tuple[np.ndarray, np.ndarray]) -> None:
    square, mask = pair(disc(24, 24, 9))
    for seed in range(10):
        pasted = paste_neighbours(square, mask, [other], np.random.default_rng(seed))
        assert (pasted <= square).all()
        assert np.array_equal(pasted[mask], square[mask])
