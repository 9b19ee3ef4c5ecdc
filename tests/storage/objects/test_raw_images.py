"""Images stored as bare grey levels: their addresses, and the PNG that is made of them."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from plankseg.errors import ObjectCorruptError, ObjectMissingError, StoreError
from plankseg.storage.objects.raw_images import Part, RawImage, grey_png, png_size


@pytest.mark.parametrize("shape", [(1, 1), (1, 70_000), (300, 400), (255, 256)])
def test_a_png_has_the_announced_size_and_every_grey_level(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    data = grey_png(image)
    assert len(data) == png_size(*shape)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), image)


def test_an_address_is_read_back_whatever_the_file_is_called(tmp_path: Path) -> None:
    parts = (Part(at=3, width=4, height=2), Part(at=11, width=2, height=3, x=3, y=1))
    image = RawImage(archive=tmp_path / "a b#?&é.roi", name="day 1/a_00001.png", parts=parts)
    assert RawImage.parse(image.uri) == image
    assert image.shape == (4, 5)


@pytest.mark.parametrize("query", ["", "at=1", "at=1&width=2&height=3&x=0&y=0&z=1", "at=1&width=2,3&height=3&x=0&y=0"])
def test_other_addresses_are_refused(query: str) -> None:
    with pytest.raises(StoreError, match="is no address of an instrument's image"):
        RawImage.parse(f"ifcb+file:///a.roi?{query}#a")
    with pytest.raises(StoreError):
        RawImage.parse("ifcb+file:///a.roi?at=1&width=0&height=3&x=0&y=0#a")


def test_a_file_that_is_gone_or_too_short_says_so(tmp_path: Path) -> None:
    image = RawImage(archive=tmp_path / "a.roi", name="a_00001.png", parts=(Part(at=1, width=4, height=2),))
    with pytest.raises(ObjectMissingError, match="is not there any more"):
        image.read()
    image.archive.write_bytes(bytes(8))
    with pytest.raises(ObjectCorruptError, match=r"a_00001\.png is not whole"):
        image.read()
    image.archive.write_bytes(bytes(9))
    assert len(image.read()) == image.size
