"""Contact sheet of the compositions: augmented examples on one picture, to check before a long training."""

import numpy as np
from jaxtyping import Bool, UInt8

from plankseg.imaging.pictures.overlay import GalleryRow, Picture, gallery, outline
from plankseg.learning.augmentation.compositions import COMPOSITIONS, compose, needs_references


def contact_sheet(
    squares: UInt8[np.ndarray, "n side side"],
    masks: Bool[np.ndarray, "n side side"],
    *,
    references: UInt8[np.ndarray, "m side side"] | None,
    draws: int = 8,
    seed: int = 0,
) -> Picture:
    """A row for each composition, a column for each draw, under the same images as they are; outlines show the masks.

    Draw i shows image i, i + 1 of n and so on, with the seed `seed` + i in every row. A composition that needs
    references is left out where there are none.
    """
    shown = [number % len(squares) for number in range(draws)]
    rows = [GalleryRow(tuple(outline(squares[i], masks[i]) for i in shown), "as it is")]
    for name in COMPOSITIONS:
        if needs_references(name) and (references is None or len(references) == 0):
            continue
        composition = compose(name, squares.shape[1], references)
        varied = [composition(squares[i], masks[i], seed=seed + index) for index, i in enumerate(shown)]
        rows.append(GalleryRow(tuple(outline(square, mask) for square, mask in varied), name))
    return gallery(rows)
