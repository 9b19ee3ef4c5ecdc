"""The same picture is known again, another one is not; distances are what counting bits by hand gives."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from plankseg.imaging.arrays import Grey
from plankseg.imaging.perceptual_hash import alike, as_numbers, bits_apart, nearest, perceptual_hash
from plankseg.imaging.reading import read_grey
from plankseg.imaging.synthetic.generator import draw_sample

# imagehash 4.3.2: phash(Image.fromarray(draw_sample("noisy", seed).grey)) for the seeds 0 to 29.
IMAGEHASH = [
    "b8c399a594b4ce5a",
    "a626d9c9393736c2",
    "a70fd0f803030dff",
    "a1d88e67309dec27",
    "af1ed0e8d90703ba",
    "b736d0230763d88f",
    "b366cc9d3131e323",
    "a53ccdca92939b4c",
    "bd2e9641cbd1e8d0",
    "ba5ac5254a76b48d",
    "b066cc19c31e73ce",
    "b338cc6373946e58",
    "a1b29ec9cce33616",
    "a533cf1c120f7d13",
    "bf1f9c1ce0e0c1c3",
    "a960968f69f83c63",
    "e6269999acb27266",
    "b046cfba7f2103c6",
    "bff0c43e79858660",
    "bec1cc1ec31ccdc1",
    "e992c9b75654942d",
    "b838cec6c7c5c331",
    "a3629c94dd91939b",
    "af1fd060271fcb60",
    "e24e983363cc9b33",
    "ed69c5689a929696",
    "eb6a9a9465639a89",
    "b099c066c7638d9f",
    "b438937999d1389b",
    "e24a9db5355b4ac2",
]
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
    assert [int(np.sort(bits_apart(hashes, phash))[1]) > 6 for phash in hashes].count(False) == 0


def test_the_hash_is_the_one_that_imagehash_computes_up_to_the_way_of_shrinking(vignettes: list[Grey]) -> None:
    pairs = zip(vignettes, IMAGEHASH, strict=True)
    assert np.mean([apart(perceptual_hash(grey), other) for grey, other in pairs]) < 2


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
