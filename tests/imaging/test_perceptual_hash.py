"""The same picture is known again, another one is not; distances are what counting bits by hand gives."""

import io
from collections.abc import Callable

import imagehash
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from plankseg.imaging.arrays import Grey
from plankseg.imaging.perceptual_hash import alike, as_numbers, bits_apart, nearest, perceptual_hash
from plankseg.imaging.reading import read_grey
from plankseg.imaging.synthetic.generator import draw_sample

NUMBERS = st.integers(0, 2**64 - 1)


def apart(one: str, other: str) -> int:
    return (int(one, 16) ^ int(other, 16)).bit_count()


def as_jpeg(grey: Grey) -> Grey:
    out = io.BytesIO()
    Image.fromarray(grey).save(out, "JPEG", quality=75)
    return read_grey(out.getvalue())


def resized(factor: float) -> Callable[[Grey], Grey]:
    return lambda grey: np.array(Image.fromarray(grey).resize([round(side * factor) for side in grey.shape[::-1]]))


def darker(grey: Grey) -> Grey:
    return (grey * 0.95).astype(np.uint8)


@pytest.fixture(scope="module")
def vignettes() -> list[Grey]:
    return [draw_sample("noisy", seed).grey for seed in range(30)]


@pytest.mark.parametrize("change", [as_jpeg, resized(0.9), resized(1.1), darker], ids=["jpeg", ".9", "1.1", "darker"])
def test_an_image_that_was_saved_again_or_slightly_resized_stays_near(
    vignettes: list[Grey], change: Callable[[Grey], Grey]
) -> None:
    assert max(apart(perceptual_hash(grey), perceptual_hash(change(grey))) for grey in vignettes) <= 6


def test_different_images_are_far_apart(vignettes: list[Grey]) -> None:
    hashes = as_numbers(map(perceptual_hash, vignettes))
    assert [int(np.sort(bits_apart(hashes, one))[1]) > 6 for one in hashes].count(False) == 0


def test_the_hash_is_the_one_that_imagehash_computes_up_to_the_way_of_shrinking(vignettes: list[Grey]) -> None:
    theirs = [str(imagehash.phash(Image.fromarray(grey))) for grey in vignettes]
    assert np.mean([apart(perceptual_hash(grey), other) for grey, other in zip(vignettes, theirs, strict=True)]) < 2


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (31, 33), (700, 50)])
def test_blank_images_of_any_size_and_shade_are_alike(shape: tuple[int, int]) -> None:
    hashes = {perceptual_hash(np.full(shape, shade, dtype=np.uint8)) for shade in (1, 128, 255)}
    assert hashes == {"8000000000000000"}


@given(st.lists(NUMBERS, max_size=6), st.lists(NUMBERS, max_size=3))
def test_the_nearest_reference_is_the_one_that_counting_bits_finds(hashes: list[int], references: list[int]) -> None:
    ours, theirs = (as_numbers(f"{number:016x}" for number in numbers) for numbers in (hashes, references))
    least, which = nearest(ours, theirs)
    distances = [[(a ^ b).bit_count() for b in references] for a in hashes]
    assert least.tolist() == [min(row, default=64) for row in distances]
    if references:
        assert which.tolist() == [row.index(min(row)) for row in distances]
    for bits in (0, 30, 64):
        assert alike(ours, theirs, bits=bits).tolist() == [any(d <= bits for d in row) for row in distances]


@given(NUMBERS, st.lists(st.sets(st.integers(0, 63), max_size=12), max_size=8), st.integers(0, 13))
def test_a_bound_on_the_distance_hides_nothing_within_it(reference: int, changes: list[set[int]], bits: int) -> None:
    hashes = [reference ^ sum(1 << bit for bit in changed) for changed in changes]
    ours, theirs = (as_numbers(f"{number:016x}" for number in numbers) for numbers in (hashes, [reference]))
    least, _ = nearest(ours, theirs, bits=bits)
    for found, changed in zip(least.tolist(), changes, strict=True):
        assert found == len(changed) if len(changed) <= bits else found in (len(changed), 64)


@pytest.mark.parametrize("text", ["", "12", "g" * 16])
def test_what_is_no_hash_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        as_numbers(["0" * 16, text])
