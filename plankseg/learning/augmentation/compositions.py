"""Augmentation compositions of the training, declared as a table.

Every composition names the one it includes, the steps of it that it replaces, and its own. A step is the name of an
albumentations transform and its parameters. The first three vary the geometry of an object, the others also its
appearance: paler, blurred, on other ground, and at last with the style of images of the target domain.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from plankseg.learning.augmentation.grey_transforms import GREY_TRANSFORMS, A, Referring

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
    """A composition: the steps of `includes`, some of them replaced in their place, then its own."""

    steps: tuple[Step, ...] = ()
    includes: str | None = None
    replaces: Mapping[str, Step] = field(default_factory=dict)


COMPOSITIONS: Mapping[str, Declaration] = {
    "basic": Declaration(
        steps=(
            Step("HorizontalFlip", {"p": 0.5}),
            Step("VerticalFlip", {"p": 0.5}),
            Step("RandomRotate90", {"p": 0.75}),
            Step("Rotate", {"limit": (-20, 20), "p": 0.5, **_BORDER}),
        ),
    ),
    "occlusion": Declaration(
        includes="basic",
        steps=(
            Step(
                "CoarseDropout",
                {
                    "num_holes_range": (1, 6),
                    "hole_height_range": (0.04, 0.14),
                    "hole_width_range": (0.04, 0.14),
                    "fill": "random_uniform",
                    "fill_mask": None,  # what is hidden is still there: the mask stays as it is
                    "p": 0.5,
                },
            ),
        ),
    ),
    "affine": Declaration(
        includes="occlusion",
        replaces={
            "Rotate": Step(
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
        },
    ),
    "domain": Declaration(
        includes="affine",
        steps=(
            Step("GridDistortion", {"num_steps": 5, "distort_limit": (-0.2, 0.2), "p": 0.4, **_BORDER}),
            Step("RandomGamma", {"gamma_limit": (40, 180), "p": 0.6}),  # per cent; below 100 objects are paler
            Step("ISONoise", {"color_shift": (0.01, 0.05), "intensity": (0.1, 0.7), "p": 0.4}),
            Step("GaussianBlur", {"blur_limit": 0, "sigma_limit": (0.3, 1.5), "p": 0.4}),
            Step("Downscale", {"scale_range": (0.4, 0.9), "p": 0.4}),
        ),
    ),
    "specialized": Declaration(
        includes="domain",
        steps=(
            Step("FDA", {"beta_limit": (0.0, 0.05), "p": 0.5}),
            # Never wholly: where the reference's object is the smaller one, most of this one would become ground.
            Step("HistogramMatching", {"blend_ratio": (0.2, 0.7), "p": 0.5}),
        ),
    ),
}


def declared_steps(name: str) -> tuple[Step, ...]:
    """All steps of a composition, in order. Raises ValueError for a name that the table does not have."""
    if name not in COMPOSITIONS:
        raise ValueError(f"There is no composition {name!r}; choose one of {', '.join(COMPOSITIONS)}.")
    declaration = COMPOSITIONS[name]
    included = declared_steps(declaration.includes) if declaration.includes else ()
    absent = declaration.replaces.keys() - {step.transform for step in included}
    if absent:
        raise ValueError(f"Composition {name!r} replaces {min(absent)}, which {declaration.includes!r} does not have.")
    return tuple(declaration.replaces.get(step.transform, step) for step in included) + declaration.steps


def needs_references(name: str) -> bool:
    """Whether the composition varies images towards others of the target domain. Raises as `declared_steps`."""
    return any(issubclass(_kind(step), Referring) for step in declared_steps(name))


class Composition:
    """Augments one letterboxed square with its mask; what it does depends on the seed of the call alone.

    It keeps a random state during a call, so one object serves one thread (every loader process has its own).
    `references` are squares of the same side, at least one where a step varies images towards them.
    """

    def __init__(
        self,
        steps: tuple[Step, ...],
        side_px: int,
        references: UInt8[np.ndarray, "n ref_side ref_side"] | None = None,
    ) -> None:
        self.side_px = side_px
        transforms = [_kind(step)(**step.parameters) for step in steps]
        for transform in transforms:
            if isinstance(transform, Referring):
                transform.refer_to(_checked(references, side_px))
        self._compose = A.Compose(transforms)

    def __call__(
        self, square: UInt8[np.ndarray, "side side"], mask: Bool[np.ndarray, "side side"], *, seed: int
    ) -> tuple[UInt8[np.ndarray, "side side"], Bool[np.ndarray, "side side"]]:
        """The square and its mask, varied in the same way. `seed` is 0 to 2**32 - 1.

        Raises ValueError when the square's side is not the one the composition was made for.
        """
        if square.shape[0] != self.side_px:
            raise ValueError(f"This composition takes squares of {self.side_px} px and was given {square.shape}.")
        # One stream for all steps: `set_random_seed` would give each its own copy of the same numbers, and an image
        # would be flipped both ways or not at all.
        self._compose.set_random_state(np.random.default_rng(seed), random.Random(seed))
        varied = self._compose(image=square, mask=mask.view(np.uint8))
        return varied["image"], varied["mask"].astype(bool)


def compose(name: str, side_px: int, references: UInt8[np.ndarray, "n ref_side ref_side"] | None = None) -> Composition:
    """A composition of the table for squares of `side_px`.

    Raises ValueError for an unknown name, and for references that are needed and missing or of another side.
    """
    return Composition(declared_steps(name), side_px, references)


def _kind(step: Step) -> Any:
    """The step's transform: ours for grey where there is one."""
    return GREY_TRANSFORMS.get(step.transform) or getattr(A, step.transform)


def _checked(references: np.ndarray | None, side_px: int) -> np.ndarray:
    if references is None or len(references) == 0 or references.shape[1:] != (side_px, side_px):
        given = "none" if references is None else " x ".join(map(str, references.shape))
        raise ValueError(
            f"This composition varies squares towards references of {side_px} px, at least one, and was given {given}."
            " Letterbox some images of the pool."
        )
    return references
