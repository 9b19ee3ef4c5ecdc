"""Prompts: clicks and boxes in the pixels of an image, or an error."""

import pytest

from plankseg.errors import PromptError
from plankseg.interactive.prompts import Box, Click


def test_a_click_belongs_to_the_pixel_it_is_in() -> None:
    assert Click(0.0, 3.99, True).pixel((10, 5)) == (0, 3)
    assert Click(10.0, 5.0, True).pixel((10, 5)) == (9, 4)


def test_a_box_holds_the_pixels_it_touches_on_the_image() -> None:
    assert Box(1.5, 2.0, 4.2, 5.0).window((10, 20)) == (slice(1, 5), slice(2, 5))
    assert Box(-3, -4, 100, 200).window((10, 20)) == (slice(0, 10), slice(0, 20))


@pytest.mark.parametrize("box", [Box(5, 5, 5, 9), Box(30, 2, 40, 5), Box(float("nan"), 0, 5, 5)])
def test_a_box_without_a_pixel_is_refused(box: Box) -> None:
    with pytest.raises(PromptError, match="holds no pixel of its image of 10 x 20"):
        box.window((10, 20))
