"""Strokes of a draft become the pixels that Label Studio would make of them, to about a pixel at the edges."""

from typing import Any

import numpy as np
import pytest

from plankseg.errors import BrushError
from plankseg.labelling.assist.strokes import paint_strokes

NOTHING = np.zeros((50, 100), dtype=bool)


def stroke(*points: float, width: float = 10.0, kind: str = "add") -> dict[str, Any]:
    return {"type": kind, "relativePoints": list(points), "relativeStrokeWidth": width}


def test_a_stroke_covers_its_path_as_wide_as_it_says() -> None:
    mask = paint_strokes([stroke(20, 50, 80, 50)], NOTHING)
    assert 9 <= mask[:, 50].sum() <= 11, "a tenth of the image's width"
    assert mask[25, 20:80].all()
    assert not mask[:, 5].any()


def test_what_is_erased_later_is_gone_and_painted_again_it_is_there() -> None:
    add, erase = stroke(20, 50, 80, 50), stroke(50, 0, 50, 100, kind="eraser")
    assert not paint_strokes([add, erase], NOTHING)[25, 50]
    assert paint_strokes([erase, add], NOTHING)[25, 50]


def test_a_tap_paints_a_dot_and_the_given_mask_stays_as_it_was() -> None:
    before = NOTHING.copy()
    before[:5] = True
    mask = paint_strokes([stroke(50, 50, 50, 50)], before)
    assert mask[25, 50]
    assert mask[:5].all()
    assert not before[25, 50]


@pytest.mark.parametrize(
    "strokes",
    [
        *(None, "x", [7], [{}], [stroke()], [stroke(1, 2, 3)], [stroke(1, "2")]),
        *([stroke(1, 2, width=float("nan"))], [stroke(1, 1e9)], [stroke(True, 2)]),
    ],
)
def test_a_stroke_that_cannot_be_read_is_refused(strokes: Any) -> None:
    with pytest.raises(BrushError, match="stroke of the draft cannot be read"):
        paint_strokes(strokes, NOTHING)
