"""A million ids in little room behave like the sorted list of their texts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plankseg.acquisition.selectors import draw_batches
from plankseg.sorted_ids import SortedIds, grouped, numbers_of

# Few digits that differ, at the beginning or at the end, so that ids are often equal or begin alike.
IDS = st.lists(st.tuples(st.sampled_from("09af"), st.sampled_from("0123456789abcdef")), max_size=30).map(
    lambda ends: [first * 32 + "5" * 31 + last for first, last in ends]
)


@given(texts=st.lists(st.from_regex(r"[0-9a-f]{16}", fullmatch=True), max_size=20))
def test_digits_are_read_as_numbers(texts: list[str]) -> None:
    digits = np.frombuffer("".join(texts).encode(), dtype=np.uint8)
    assert numbers_of(digits).tolist() == [int(text, 16) for text in texts]


@given(ids=IDS, leaving=IDS)
def test_they_are_a_sorted_list_without_twins(ids: list[str], leaving: list[str]) -> None:
    packed, plain = SortedIds.of(ids), sorted(set(ids))
    assert packed == plain
    assert list(packed) == [packed[index] for index in range(len(plain))] == plain
    assert packed[1:3] == plain[1:3]
    assert [packed.position(image_id) for image_id in plain] == list(range(len(plain)))
    assert [image_id in packed for image_id in leaving] == [image_id in plain for image_id in leaving]
    assert packed.without([*leaving, "no id at all"]) == [image_id for image_id in plain if image_id not in leaving]


@given(ids=IDS)
def test_rows_are_grouped_by_their_id_in_the_order_that_they_had(ids: list[str]) -> None:
    order, begins = grouped(numbers_of(np.frombuffer("".join(ids).encode(), dtype=np.uint8)).reshape(-1, 4))
    assert order.tolist() == sorted(range(len(ids)), key=lambda index: (ids[index], index))
    assert [ids[order[index]] for index in begins] == sorted(set(ids))


def test_a_draw_from_them_is_the_draw_from_the_list() -> None:
    ids = [f"{number:064x}" for number in np.random.default_rng(1).permutation(500)]
    drawn = [
        draw_batches(pool, batch_size=20, batches=5, mode="draws", rng=np.random.default_rng(7))
        for pool in (ids, SortedIds.of(ids))
    ]
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize("wrong", ["", "a" * 63, "A" * 64, "g" * 64, "a" * 64 + "\n"])
def test_what_is_no_sha256_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="no image's id"):
        SortedIds.of([wrong])
    assert wrong not in SortedIds.of(["a" * 64])
