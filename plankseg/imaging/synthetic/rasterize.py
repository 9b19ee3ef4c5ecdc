"""Rasterization of outlines, limbs and tails: optical density, and the share of each pixel that is covered.

A path is a complex array, x + i y, in any unit: turning is a product, mirroring a conjugate. Parts are painted in
order, the later over the earlier, at twice the final size and area-averaged, so that coverage is exact to a quarter.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Complex, Float, Float32

from plankseg.imaging.arrays import Mask

OVERSAMPLING = 2
_SHIFT = 4  # OpenCV takes coordinates in sixteenths of a pixel
_PEN = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]]) * 2**_SHIFT // 2
_MITRE = 1.6  # a line's round caps and joints reach a little past half its width

Path = Complex[np.ndarray, " points"]
Layer = Float32[np.ndarray, "h w"]


@dataclass(frozen=True)
class Part:
    """A filled outline, or a line when `width` (same unit as the path) is given; density is -ln(transmission)."""

    path: Path
    density: float
    width: float | None = None


@dataclass(frozen=True)
class Drawing:
    """Optical density (h, w) and coverage (h, w) in 0, .25, .5, .75, 1, with one free pixel around."""

    density: Layer
    coverage: Layer


def ellipse(at: complex, length: float, width: float, *, turn: float = 0.0) -> Path:
    """Outline of an ellipse with these full axes, its length turned by `turn` radians."""
    angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    path: Path = at + (length * np.cos(angle) + 1j * width * np.sin(angle)) / 2 * np.exp(1j * turn)
    return path


def rough(path: Path, roughness: float, rng: np.random.Generator, *, waves: int = 7) -> Path:
    """Make an outline's distance from its middle waver by about `roughness` (a share), slow waves strongest."""
    order = np.arange(2, 2 + waves)
    weight = rng.normal(0, roughness, waves) / np.sqrt(order - 1)
    angle = np.linspace(0, 2 * np.pi, len(path), endpoint=False)
    wave = weight @ np.cos(np.outer(order, angle) + rng.uniform(0, 2 * np.pi, waves)[:, None])
    middle = path.mean()
    wavering: Path = middle + (path - middle) * np.maximum(1 + wave, 0.3)
    return wavering


def curve(start: complex, heading: float, length: float, *, bend: float, points: int = 24) -> Path:
    """Walk `length` from `start`, towards `heading` (radians) at first and turning by `bend` in all."""
    angle = heading + bend * np.linspace(0, 1, points)
    steps = np.exp(1j * angle[:-1]) * length / (points - 1)
    return start + np.concatenate([[0], np.cumsum(steps)])


def ribbon(spine: Path, half_width: Float[np.ndarray, " points"]) -> Complex[np.ndarray, " twice"]:
    """Outline at these distances to both sides of a spine."""
    along = np.gradient(spine)
    side = 1j * along / np.abs(along) * half_width
    return np.concatenate([spine + side, (spine - side)[::-1]])


def rasterise(parts: Sequence[Part], *, longest_px: float, turn: float) -> Drawing:
    """Turn the parts by `turn` radians and draw them with a box whose longer side is `longest_px`, or a few less."""
    paths = [part.path * np.exp(1j * turn) for part in parts]
    reach = [np.full(len(part.path), (part.width or 0.0) / 2 * _MITRE) for part in parts]
    points, margin = np.concatenate(paths), np.concatenate(reach)
    # Two pixels are left over: the pen is never thinner than one, and the box need not lie on the pixel grid.
    low = complex((points.real - margin).min(), (points.imag - margin).min())
    high = complex((points.real + margin).max(), (points.imag + margin).max())
    scale = (longest_px - 2) / max(high.real - low.real, high.imag - low.imag)
    height, width = (int(np.ceil(side * scale)) + 3 for side in (high.imag - low.imag, high.real - low.real))
    canvas = np.zeros((height * OVERSAMPLING, width * OVERSAMPLING), np.float32)
    for part, path in zip(parts, paths, strict=True):
        _paint(canvas, (path - low) * scale + (1 + 1j), part, scale)
    covered = (canvas > 0).astype(np.float32)
    return Drawing(density=_average(canvas), coverage=_average(covered))


def exact_mask(coverage: Layer) -> Mask:
    """Pixels at least half covered, or a quarter beside two such ones: one-pixel antennae stay whole."""
    mask = coverage >= 0.5
    neighbours = cv2.filter2D(mask.astype(np.uint8), -1, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT)
    return np.asarray(mask | ((coverage >= 0.25) & (neighbours >= 2)))


def _paint(canvas: Layer, path_px: Path, part: Part, scale: float) -> None:
    # Pixel centres lie at half-integers of the drawing's unit; OpenCV's lie at integers.
    points_px = (path_px * OVERSAMPLING - (0.5 + 0.5j)) * 2**_SHIFT
    corners = np.round(np.stack([points_px.real, points_px.imag], axis=-1)).astype(np.int32)
    if part.width is None:
        cv2.fillPoly(canvas, [corners], part.density, shift=_SHIFT)
        return
    thickness = round(part.width * scale * OVERSAMPLING)
    if thickness > OVERSAMPLING:
        cv2.polylines(canvas, [corners], False, part.density, thickness=thickness, shift=_SHIFT)
        return
    for step in _PEN:  # OpenCV draws lines of thickness 2 three pixels wide; a square pen gives one final pixel
        cv2.polylines(canvas, [corners + step], False, part.density, thickness=1, shift=_SHIFT)


def _average(canvas: Float32[np.ndarray, "oversampled_h oversampled_w"]) -> Layer:
    height, width = (side // OVERSAMPLING for side in canvas.shape)
    return np.asarray(canvas.reshape(height, OVERSAMPLING, width, OVERSAMPLING).mean((1, 3), dtype=np.float32))
