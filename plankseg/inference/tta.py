"""Test-time augmentation: the views of an image, and how each prediction is brought back to the image's frame.

A view is a pair of functions on the last two axes, (n, h, w) in and out: `do` turns the grey squares before the
network, `undo` transforms the network's answer back. `undo(do(x))` is `x` for every shape, so the views of one pixel
have the same position and may be compared. Test-time augmentation as a measure of uncertainty: Gaillochet, Desrosiers
and Lombaert 2023 (arXiv 2301.07670).

The noise is added to the grey values, before the one preprocessing that training uses too, and is rounded and clipped
to 0..255 as a camera would. It is drawn from the seed and the image's id alone: an image looks the same whichever
images share its batch.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Shaped, UInt8

from plankseg.config import QueryConfig
from plankseg.imaging.arrays import Grey

Squares = UInt8[torch.Tensor, "n h w"]
"""Grey images of one size, before the preprocessing."""

Maps = Float[torch.Tensor, "n h w"]
"""One number per pixel, in the frame of a view or of the image."""

GREY_RANGE = 255


@dataclass(frozen=True)
class View:
    """One view: `do(squares, image_ids)` before the network, `undo(maps)` after it."""

    name: str
    do: Callable[[Squares, Sequence[str]], Squares]
    undo: Callable[[Maps], Maps]


def recipe_views(noise_sd: float, *, seed: int = 0) -> tuple[View, ...]:
    """The five published views: identity, both flips, a quarter turn, light noise.

    `noise_sd` is the noise's standard deviation as a share of the grey range; with 0 the last view repeats the first.
    """
    return (
        _turned("identity", flip=False, quarters=0),
        _turned("horizontal_flip", flip=True, quarters=0),
        _turned("vertical_flip", flip=True, quarters=2),
        _turned("rotation_90", flip=False, quarters=1),
        View("noise", partial(_add_noise, noise_sd=noise_sd, seed=seed), _leave),
    )


def dihedral_views() -> tuple[View, ...]:
    """The eight symmetries of the square: four quarter turns, each plain and after a horizontal flip."""
    return tuple(
        _turned(f"{'flip_' if flip else ''}rotation_{90 * quarters}", flip=flip, quarters=quarters)
        for flip in (False, True)
        for quarters in range(4)
    )


def views_of(query: QueryConfig) -> tuple[View, ...]:
    """The views that a recipe asks for."""
    if query.views == "dihedral":
        return dihedral_views()
    return recipe_views(query.noise_sd, seed=query.seed)


def _turned(name: str, *, flip: bool, quarters: int) -> View:
    """First the horizontal flip, then the quarter turns (counter-clockwise); undone in the opposite order."""
    return View(name, partial(_turn, flip=flip, quarters=quarters), partial(_turn_back, flip=flip, quarters=quarters))


def _turn(squares: Squares, _image_ids: Sequence[str], *, flip: bool, quarters: int) -> Shaped[torch.Tensor, "n a b"]:
    return torch.rot90(torch.flip(squares, (-1,)) if flip else squares, quarters, (-2, -1))


def _turn_back(maps: Maps, *, flip: bool, quarters: int) -> Shaped[torch.Tensor, "n a b"]:
    upright = torch.rot90(maps, -quarters, (-2, -1))
    return torch.flip(upright, (-1,)) if flip else upright


def _add_noise(squares: Squares, image_ids: Sequence[str], *, noise_sd: float, seed: int) -> Squares:
    pairs = zip(squares.numpy(), image_ids, strict=True)
    return torch.from_numpy(np.stack([_noisy(square, image_id, noise_sd, seed) for square, image_id in pairs]))


def _noisy(square: Grey, image_id: str, noise_sd: float, seed: int) -> Grey:
    own = int.from_bytes(hashlib.sha256(image_id.encode()).digest()[:16], "big")
    noise = np.random.default_rng([seed, own]).standard_normal(square.shape, dtype=np.float32)
    noisy: Grey = np.clip(np.rint(square + GREY_RANGE * noise_sd * noise), 0, GREY_RANGE).astype(np.uint8)
    return noisy


def _leave(maps: Maps) -> Maps:
    return maps
