"""Which variations of an image does the network see in training? Compositions, declared as a table.

Every composition names the one it includes, the steps of it that it replaces, and its own. A step is the name of an
albumentations transform and its parameters.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # or its import asks the network for a newer version

import albumentations as A  # noqa: N812

# What turns into the square from outside is mirrored, in the image and in the mask alike: a constant would draw an
# edge, and an object that reaches the border stays labelled.
_BORDER = {"border_mode": cv2.BORDER_REFLECT_101, "interpolation": cv2.INTER_LINEAR}


@dataclass(frozen=True)
class Step:
    """One albumentations transform."""

    transform: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Declaration:
    """A composition: all steps of `includes` but those in `replaces`, then its own."""

    steps: tuple[Step, ...]
    includes: str | None = None
    replaces: tuple[str, ...] = ()


COMPOSITIONS: Mapping[str, Declaration] = {
    "basic": Declaration(
        steps=(
            Step("HorizontalFlip", {"p": 0.5}),
            Step("VerticalFlip", {"p": 0.5}),
            Step("RandomRotate90", {"p": 0.75}),
            Step("Rotate", {"limit": (-20, 20), "p": 0.5, **_BORDER}),
        ),
    ),
    "affine": Declaration(
        includes="basic",
        replaces=("Rotate",),
        steps=(
            Step(
                "Affine",
                {
                    "scale": (0.8, 1.2),
                    "translate_percent": (-0.1, 0.1),
                    "rotate": (-45, 45),
                    "shear": (-10, 10),
                    "p": 0.8,
                    **_BORDER,
                },
            ),
        ),
    ),
}


def declared_steps(name: str) -> tuple[Step, ...]:
    """All steps of a composition, in order. Raises ValueError for a name that the table does not have."""
    if name not in COMPOSITIONS:
        raise ValueError(f"There is no composition {name!r}; choose one of {', '.join(COMPOSITIONS)}.")
    declaration = COMPOSITIONS[name]
    included = declared_steps(declaration.includes) if declaration.includes else ()
    kept = tuple(step for step in included if step.transform not in declaration.replaces)
    return kept + declaration.steps


class Composition:
    """Augments one letterboxed square with its mask; what it does depends on the seed of the call alone.

    It keeps albumentations' generator, so one object serves one thread (every loader process has its own).
    """

    def __init__(self, steps: tuple[Step, ...], side_px: int) -> None:
        self.side_px = side_px
        self._compose = A.Compose([getattr(A, step.transform)(**step.parameters) for step in steps])

    def __call__(
        self, square: UInt8[np.ndarray, "side side"], mask: Bool[np.ndarray, "side side"], *, seed: int
    ) -> tuple[UInt8[np.ndarray, "side side"], Bool[np.ndarray, "side side"]]:
        """The square and its mask, varied in the same way. `seed` is 0 to 2**32 - 1.

        Raises ValueError when the square's side is not the one the composition was made for.
        """
        if square.shape[0] != self.side_px:
            raise ValueError(f"This composition takes squares of {self.side_px} px and was given {square.shape}.")
        self._compose.set_random_seed(seed)
        varied = self._compose(image=square, mask=mask.view(np.uint8))
        return varied["image"], varied["mask"].astype(bool)


def compose(name: str, side_px: int) -> Composition:
    """A composition of the table for squares of `side_px`. Raises ValueError for an unknown name."""
    return Composition(declared_steps(name), side_px)
