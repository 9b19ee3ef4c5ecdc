"""Masks survive the way to Label Studio and back; nothing malformed is believed or allowed to eat memory."""

import importlib.util
import sys
import tracemalloc
from contextlib import suppress
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from plankseg.errors import BrushError
from plankseg.labelling.api.brush_rle import decode_brush, encode_brush

masks = st.tuples(st.integers(1, 40), st.integers(1, 40)).flatmap(lambda shape: arrays(bool, shape))


def _disc(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return ((y - height / 2) / height) ** 2 + ((x - width / 2) / width) ** 2 < 0.1


@pytest.fixture(scope="module")
def sdk() -> ModuleType:
    """The SDK's own codec, loaded as one file: importing its package costs seconds."""
    package = importlib.util.find_spec("label_studio_sdk")
    assert package is not None
    assert package.origin is not None
    spec = importlib.util.spec_from_file_location("sdk_brush", Path(package.origin).parent / "converter" / "brush.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["sdk_brush"] = module
    spec.loader.exec_module(module)
    return module


@given(masks)
def test_decode_after_encode_is_identity(mask: np.ndarray) -> None:
    assert np.array_equal(decode_brush(encode_brush(mask), shape=mask.shape), mask)


@pytest.mark.parametrize("shape", [(11, 29), (1285, 134), (70, 600), (256, 256), (1, 1)])
@pytest.mark.parametrize("kind", ["disc", "noise", "empty", "full"])
def test_odd_sizes_come_back_to_the_pixel(shape: tuple[int, int], kind: str) -> None:
    mask = {
        "disc": _disc(*shape),
        "noise": np.random.default_rng(0).random(shape) < 0.3,
        "empty": np.zeros(shape, bool),
        "full": np.ones(shape, bool),
    }[kind]
    assert np.array_equal(decode_brush(encode_brush(mask), shape=shape), mask)


@settings(max_examples=30)
@given(masks)
def test_code_is_byte_for_byte_the_sdks(sdk: ModuleType, mask: np.ndarray) -> None:
    assert encode_brush(mask) == list(sdk.mask2rle(mask.astype(np.uint8) * 255))


def test_long_runs_are_split_as_the_sdk_splits_them(sdk: ModuleType) -> None:
    for side in (127, 128, 129, 300):  # 128 x 128 x 4 is exactly one longest run
        mask = np.ones((side, side), bool)
        assert encode_brush(mask) == list(sdk.mask2rle(mask.astype(np.uint8) * 255))


@settings(max_examples=30)
@given(arrays(np.uint8, (6, 9), elements=st.sampled_from([0, 1, 126, 127, 128, 129, 254, 255])))
def test_anti_aliased_edges_count_from_half_covered_on(sdk: ModuleType, alpha: np.ndarray) -> None:
    rle = list(sdk.mask2rle(alpha))
    assert np.array_equal(decode_brush(rle, shape=alpha.shape), alpha >= 128)


def _pack(bits: str) -> list[int]:
    bits += "0" * (-len(bits) % 8)
    return list(int(bits, 2).to_bytes(len(bits) // 8, "big"))


def test_literal_tokens_are_read_and_only_alpha_counts() -> None:
    header = f"{8:032b}{7:05b}" + "0010" + "0011" + "0111" + "1111"
    literal = "0" + "00" + f"{7:03b}" + "".join(f"{v:08b}" for v in (255, 255, 255, 0, 0, 0, 0, 200))
    assert decode_brush(_pack(header + literal), shape=(1, 2)).tolist() == [[False, True]]


@settings(max_examples=100)
@given(st.lists(st.integers(0, 255), max_size=60), st.booleans())
def test_any_list_of_bytes_is_a_mask_or_a_brush_error(noise: list[int], with_header: bool) -> None:
    rle = encode_brush(np.zeros((5, 7), bool))[:7] + noise if with_header else noise
    with suppress(BrushError):
        assert decode_brush(rle, shape=(5, 7)).shape == (5, 7)


@given(masks, st.data())
def test_a_code_that_is_cut_off_is_refused(mask: np.ndarray, data: st.DataObject) -> None:
    rle = encode_brush(mask)
    kept = data.draw(st.integers(0, len(rle) - 2))  # the last byte may be padding alone
    with pytest.raises(BrushError):
        decode_brush(rle[:kept], shape=mask.shape)


@pytest.mark.parametrize(
    "rle",
    [None, 7, "255", {"rle": [1]}, [], [1, 2, 3], [0.5] * 30, ["1"] * 30, [None] * 30, [256] * 30, [-1] * 30],
    ids=lambda value: repr(value)[:20],
)
def test_what_is_no_list_of_bytes_is_refused(rle: object) -> None:
    with pytest.raises(BrushError):
        decode_brush(rle, shape=(5, 7))


def test_another_images_size_is_refused_and_both_sizes_are_named() -> None:
    with pytest.raises(BrushError, match=r"announces 40 values .* 7 x 5 px needs 140"):
        decode_brush(encode_brush(np.ones((2, 5), bool)), shape=(5, 7))


def test_other_word_sizes_are_refused() -> None:
    rle = encode_brush(np.ones((5, 7), bool))
    rle[4] |= 0b11111000
    with pytest.raises(BrushError, match="words of 32 bits"):
        decode_brush(rle, shape=(5, 7))


def test_a_run_past_the_end_is_refused() -> None:
    header = f"{8:032b}{7:05b}" + "0010" + "0011" + "0111" + "1111"
    with pytest.raises(BrushError, match="past the end"):
        decode_brush(_pack(header + "110" + f"{200:08b}" + "11111111"), shape=(1, 2))


def test_a_header_that_announces_four_gigabytes_takes_no_memory() -> None:
    tracemalloc.start()
    try:
        with pytest.raises(BrushError, match="announces 4294967295 values"):
            decode_brush([255, 255, 255, 255, 57, 27, 255, 0, 0], shape=(5, 7))
        with pytest.raises(BrushError, match="1000000 bytes"):
            decode_brush(range(1_000_000), shape=(5, 7))
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
