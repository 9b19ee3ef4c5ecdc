"""Bytes in, grey image out; everything else is refused with a message that helps."""

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFile

from plankseg.errors import ImageReadError, ImageTooLargeError, PlanksegError
from plankseg.imaging.reading import encode_grey, read_grey, read_header


def ramp(height: int = 16, width: int = 16) -> np.ndarray:
    return (np.arange(height * width) % 256).astype(np.uint8).reshape(height, width)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def png_with_size(width: int, height: int) -> bytes:
    """A correct PNG header, and no pixels at all."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def tiff_16_bit(values: np.ndarray, *, photometric: int = 1, bits: int = 16) -> bytes:
    """A little-endian, one-strip TIFF, written by hand because Pillow cannot write `white is zero`."""
    height, width = values.shape
    pixels = values.astype("<u2").tobytes()
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, photometric), (273, 8), (277, 1), (278, height)]
    tags.append((279, len(pixels)))
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\x00" + struct.pack("<I", 8 + len(pixels)) + pixels + directory + struct.pack("<I", 0)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_eight_bit_grey_comes_back_pixel_for_pixel(kind: str) -> None:
    data = saved(Image.fromarray(ramp(29, 11)), kind)
    assert np.array_equal(read_grey(data), ramp(29, 11))
    header = read_header(data)
    assert (header.format, header.width, header.height, header.bits) == (kind, 11, 29, 8)


@pytest.mark.parametrize("shape", [(1, 1), (11, 29), (1, 400), (134, 1285)])
def test_our_own_png_comes_back_pixel_for_pixel(shape: tuple[int, int]) -> None:
    assert np.array_equal(read_grey(encode_grey(ramp(*shape))), ramp(*shape))


def test_jpeg_is_read_and_its_header_named() -> None:
    data = saved(Image.new("L", (31, 17), 200), "JPEG", quality=95)
    assert np.all(read_grey(data) == 200)
    assert read_header(data).format == "JPEG"


def test_equal_channels_are_that_channel_for_all_256_values() -> None:
    colour = np.repeat(ramp()[:, :, None], 3, axis=2)
    assert np.array_equal(read_grey(saved(Image.fromarray(colour), "PNG")), ramp())


def test_colour_becomes_luminance() -> None:
    pure = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], dtype=np.uint8)
    assert read_grey(saved(Image.fromarray(pure), "PNG")).tolist() == [[76, 150, 29]]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_divided_by_257(kind: str) -> None:
    wide = np.array([[0, 257, 128 * 257, 65535, 128, 129]], dtype=np.uint16)
    data = saved(Image.fromarray(wide), kind)
    assert read_header(data).bits == 16
    assert read_grey(data).tolist() == [[0, 1, 128, 255, 0, 1]]


def test_a_tiff_whose_white_is_zero_is_turned_round() -> None:
    wide = np.array([[0, 65535, 257]], dtype=np.uint16)
    assert read_grey(tiff_16_bit(wide, photometric=0)).tolist() == [[255, 0, 254]]
    assert read_grey(tiff_16_bit(wide, photometric=1)).tolist() == [[0, 255, 1]]


def test_one_bit_and_palette_images_become_grey() -> None:
    mask = ramp() > 100
    assert np.array_equal(read_grey(saved(Image.fromarray(mask), "PNG")), np.where(mask, 255, 0))
    palette = Image.fromarray(ramp()).convert("P")
    assert np.array_equal(read_grey(saved(palette, "PNG")), ramp())


def test_transparent_pixels_are_white_ground() -> None:
    dark = np.zeros((2, 2, 2), dtype=np.uint8)
    dark[0, 0, 1] = 255
    assert read_grey(saved(Image.fromarray(dark, "LA"), "PNG")).tolist() == [[0, 255], [255, 255]]
    keyed = saved(Image.fromarray(np.array([[7, 9]], dtype=np.uint8)), "PNG", transparency=7)
    assert read_grey(keyed).tolist() == [[255, 9]]
    keyed16 = saved(Image.fromarray(np.array([[0, 257]], dtype=np.uint16)), "PNG", transparency=0)
    assert read_grey(keyed16).tolist() == [[255, 1]]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_orientation_tags_turn_nothing(kind: str, orientation: int) -> None:
    grey = np.full((24, 40), 250, dtype=np.uint8)
    grey[:8, :16] = 10
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 100} if kind == "JPEG" else {}
    data = saved(Image.fromarray(grey), kind, exif=exif, **options)
    assert (read_header(data).height, read_header(data).width) == (24, 40)
    assert np.array_equal(read_grey(data) < 128, grey < 128)


@pytest.mark.parametrize(
    ("data", "seen"),
    [
        (b"", "0 bytes"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"<?xml version='1.0'?><svg/>", "XML"),
        (b"GIF89a" + bytes(50), "GIF"),
        (b"just some words", "just some wo"),
        (b"\x00" * 64, "64 bytes"),
    ],
)
def test_what_is_no_image_is_refused_with_what_was_seen(data: bytes, seen: str) -> None:
    with pytest.raises(ImageReadError, match=seen) as caught:
        read_grey(data)
    assert "PNG, JPEG or TIFF" in str(caught.value)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_a_file_cut_off_halfway_is_refused(kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    data = saved(Image.fromarray(noise), kind)
    with pytest.raises(ImageReadError, match="Copy it again"):
        read_grey(data[: len(data) // 2])


@pytest.mark.parametrize("value", [0.5, float("nan")])
def test_floating_point_pixels_are_refused(value: float) -> None:
    with pytest.raises(ImageReadError, match="grey range"):
        read_grey(saved(Image.fromarray(np.full((4, 4), value, dtype=np.float32)), "TIFF"))


def test_several_pages_are_refused() -> None:
    page = Image.fromarray(ramp())
    with pytest.raises(ImageReadError, match="2 pages"):
        read_grey(saved(page, "TIFF", save_all=True, append_images=[page]))


def test_a_huge_png_is_refused_before_a_pixel_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("the pixels were decoded"))
    data = png_with_size(30_000, 30_000)
    assert read_header(data).width == 30_000
    with pytest.raises(ImageTooLargeError, match="30000 x 30000"):
        read_grey(data)


def test_the_largest_bearable_image_is_read_and_one_pixel_more_is_not() -> None:
    data = encode_grey(ramp(10, 10))
    assert read_grey(data, max_pixels=100).shape == (10, 10)
    with pytest.raises(ImageTooLargeError, match="99"):
        read_grey(data, max_pixels=99)


def test_a_png_of_no_size_is_refused() -> None:
    with pytest.raises(ImageReadError):
        read_grey(png_with_size(0, 10))


SEEDS = [
    saved(Image.fromarray(ramp()), "PNG"),
    saved(Image.fromarray(ramp()), "JPEG"),
    saved(Image.fromarray(ramp()), "TIFF"),
    tiff_16_bit(ramp().astype(np.uint16)),
]


@given(seed=st.sampled_from(SEEDS), data=st.data())
def test_damaged_bytes_give_an_image_or_our_own_error(seed: bytes, data: st.DataObject) -> None:
    damaged = bytearray(seed)
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(4, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on the broken metadata that we made
        try:
            grey = read_grey(bytes(damaged[: data.draw(st.integers(0, len(damaged)))]), max_pixels=1_000_000)
        except PlanksegError:
            return
    assert grey.dtype == np.uint8
    assert grey.ndim == 2


@pytest.mark.real_data
def test_real_vignettes_are_read_at_the_size_of_their_header(real_data: Path) -> None:
    paths = sorted((real_data / "zooscannet-sample").rglob("*.jpg"))[::40]
    assert len(paths) > 20
    for path in paths:
        data = path.read_bytes()
        header = read_header(data)
        assert read_grey(data).shape == (header.height, header.width)
