"""Clutter of noisy images: uneven background, dust, fibres, fragments that touch the object.

Clutter is drawn as optical density, like the object; nothing here is ever part of a mask. Fragments are granular and
have sharp flecks, unlike the smooth organisms, and stay smaller: a person, and so a network, can tell them apart.
"""

import cv2
import numpy as np
from jaxtyping import Float32

from plankseg.imaging.arrays import Mask
from plankseg.imaging.synthetic.rasterize import Layer, Part, curve, ellipse, exact_mask, rasterise, rough

_MOST_DUST = 40


def mottle(shape: tuple[int, int], grain_px: float, rng: np.random.Generator) -> Float32[np.ndarray, "h w"]:
    """Smooth noise of mean 0 and standard deviation 1 with spots of about `grain_px`."""
    height, width = (max(2, int(np.ceil(side / grain_px)) + 1) for side in shape)
    coarse = rng.normal(0, 1, (height, width)).astype(np.float32)
    coarse = (coarse - coarse.mean()) / (coarse.std() + 1e-6)
    return np.asarray(cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC), np.float32)


def uneven_ground(shape: tuple[int, int], rng: np.random.Generator) -> Layer:
    """Light ground, 232 to 252 grey levels at its lightest: vignetting up to 14, slow unevenness, often scan lines."""
    height, width = shape
    rows, columns = (np.linspace(0, 1, side, dtype=np.float32) for side in shape)
    middle = rng.uniform(0.1, 0.9, 2)
    vignette = (rows[:, None] - middle[0]) ** 2 + (columns[None, :] - middle[1]) ** 2
    ground = rng.uniform(232, 252) - rng.uniform(2, 14) * vignette
    ground = ground + rng.uniform(1, 4) * mottle(shape, max(height, width) / rng.uniform(2, 6), rng)
    if rng.random() < 0.4:
        ground = ground + rng.normal(0, rng.uniform(0.5, 2.5), (1, width))
    return np.asarray(ground, np.float32)


def fragments(mask: Mask, rng: np.random.Generator) -> Layer:
    """Dark, granular pieces that touch the object's edge or lie near it, together smaller than the object."""
    layer = np.zeros(mask.shape, np.float32)
    edge = np.argwhere(mask & ~cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool))
    budget_px = int(mask.sum() * rng.uniform(0.15, 0.6))
    for _ in range(int(rng.integers(1, 6))):
        longest = np.sqrt(mask.sum()) * rng.uniform(0.25, 0.7)
        piece = _fragment(max(6.0, longest), rng)
        row, column = edge[rng.integers(len(edge))] + rng.normal(0, longest / 3, 2)
        placed = _placed(piece, mask.shape, row, column)
        placed[mask] = 0  # the object lies on top
        if (placed > 0).sum() <= budget_px:
            budget_px -= int((placed > 0).sum())
            layer = np.maximum(layer, placed)
    return layer


def dust_and_fibres(shape: tuple[int, int], rng: np.random.Generator) -> Layer:
    """Specks of .5 to 3 px radius and a few long fibres, anywhere in the image, in and out of focus."""
    layer = np.zeros(shape, np.float32)
    for _ in range(min(_MOST_DUST, int(rng.poisson(0.0012 * shape[0] * shape[1])))):
        at = rng.uniform(0, shape[1]), rng.uniform(0, shape[0])
        cv2.circle(layer, _sixteenths(at), int(rng.uniform(0.5, 3) * 16), rng.uniform(0.05, 0.6), -1, shift=4)
    for _ in range(int(rng.poisson(1.2))):
        start = complex(rng.uniform(0, shape[1]), rng.uniform(0, shape[0]))
        path = curve(start, rng.uniform(0, 2 * np.pi), max(shape) * rng.uniform(0.4, 1.4), bend=rng.normal(0, 1.2))
        corners = np.round(np.stack([path.real, path.imag], -1) * 16).astype(np.int32)
        cv2.polylines(layer, [corners], False, rng.uniform(0.05, 0.35), thickness=int(rng.integers(1, 4)), shift=4)
    return np.asarray(cv2.GaussianBlur(layer, (0, 0), rng.uniform(0.4, 1.2)), np.float32)


def _fragment(longest_px: float, rng: np.random.Generator) -> Layer:
    density = rng.uniform(0.5, 1.4)
    outline = rough(ellipse(0j, 1.0, rng.uniform(0.4, 0.9)), 0.2, rng, waves=12)
    piece = rasterise([Part(outline, density)], longest_px=longest_px, turn=rng.uniform(0, 2 * np.pi))
    grains = 1 + 0.5 * rng.normal(0, 1, piece.density.shape)
    return np.asarray(exact_mask(piece.coverage) * np.clip(piece.density * grains, 0.1, 2.2), np.float32)


def _placed(piece: Float32[np.ndarray, "rows columns"], shape: tuple[int, int], row: float, column: float) -> Layer:
    """The piece centred at a point of an empty layer, cut off at its border."""
    shift = np.array([[1, 0, round(column - piece.shape[1] / 2)], [0, 1, round(row - piece.shape[0] / 2)]], np.float32)
    return np.asarray(cv2.warpAffine(piece, shift, (shape[1], shape[0]), flags=cv2.INTER_NEAREST), np.float32)


def _sixteenths(point: tuple[float, float]) -> tuple[int, int]:
    return round(point[0] * 16), round(point[1] * 16)
