"""Drawn scenes with exact masks and made-up pre-masks: what the click network learns from, on no real image.

Anything may be drawn: bodies, limbs, cells with nuclei, neighbours that touch, on any ground and in any contrast. The
network is to learn how a click, an outline and a grey level go together, not what plankton looks like.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

from plankseg.interactive.evidence import signed_distance

Field = Float32[np.ndarray, "side side"]
Shape = Bool[np.ndarray, "side side"]


@dataclass(frozen=True)
class Scene:
    """A square image, the true mask of its object, and what a network made of it."""

    image: UInt8[np.ndarray, "side side"]
    truth: Shape
    probability: Field
    mask: Shape


def draw_scene(rng: np.random.Generator, side: int) -> Scene:
    """One scene of `side` x `side` pixels whose object and mask are both as `rng` has them."""
    size = float(np.exp(rng.uniform(np.log(6), np.log(1.1 * side))))
    truth, others = _shapes(rng, side, size)
    image = _image(rng, truth, others)
    probability = _probability(rng, image, truth, others, size)
    mask = probability >= (0.5 if rng.random() < 0.6 else rng.uniform(0.25, 0.8))
    if rng.random() < 0.4:  # somebody has repaired a part of it already
        done = smooth_field(rng, side, size) > rng.normal(0, 0.7)
        mask = np.where(done, truth, mask)
    return Scene(image, truth, probability, _without_pinholes(mask))


def smooth_field(rng: np.random.Generator, side: int, scale_px: float) -> Field:
    """Noise of mean 0 and deviation 1 whose waves are about so long."""
    cells = int(np.clip(round(2 * side / max(scale_px, 1)), 3, side))
    coarse = rng.normal(size=(cells, cells)).astype(np.float32)
    field = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
    return np.asarray((field - field.mean()) / (field.std() + 1e-6), np.float32)


def _blob(rng: np.random.Generator, side: int, centre: np.ndarray, radius: float) -> Shape:
    """A star-shaped body, or an ellipse, or a wavy one."""
    rows, columns = np.mgrid[:side, :side].astype(np.float32)
    angle, stretch = rng.uniform(0, np.pi), np.exp(rng.normal(0, 0.35))
    y, x = rows - centre[0], columns - centre[1]
    u = (np.cos(angle) * x + np.sin(angle) * y) / stretch
    v = (-np.sin(angle) * x + np.cos(angle) * y) * stretch
    around = np.arctan2(v, u)
    outline = np.full_like(u, radius)
    strength = rng.choice([0.0, 0.05, 0.15, 0.3])
    for waves in range(2, 7):
        outline += radius * strength * rng.normal() / np.sqrt(waves) * np.cos(waves * around + rng.uniform(0, 6.28))
    return np.asarray(np.hypot(u, v) < np.maximum(outline, 0.25 * radius))


def _organism(rng: np.random.Generator, side: int, centre: np.ndarray, radius: float) -> Shape:
    shape = _blob(rng, side, centre, radius)
    for _ in range(int(rng.choice([0, 0, 0, 1, 2]))):  # further parts of the body
        offset = radius * rng.uniform(0.5, 1.3) * _direction(rng)
        shape |= _blob(rng, side, centre + offset, radius * rng.uniform(0.3, 0.8))
    if rng.random() < 0.35:  # limbs and antennae
        canvas = shape.astype(np.uint8)
        for _ in range(rng.integers(1, 6)):
            at = centre + 0.6 * radius * _direction(rng)
            heading, bend = rng.uniform(0, 6.28), rng.normal(0, 0.25)
            width = int(rng.integers(1, max(2, round(radius / 4)) + 1))
            for _ in range(int(rng.integers(3, 9))):
                to = at + radius * 0.25 * np.array([np.sin(heading), np.cos(heading)])
                cv2.line(canvas, _xy(at), _xy(to), 1, width)
                at, heading = to, heading + bend
        shape = canvas > 0
    if rng.random() < 0.2:
        shape |= _tail(rng, side, centre, radius)
    if rng.random() < 0.1:
        shape &= ~_blob(rng, side, centre + 0.3 * radius * _direction(rng), 0.35 * radius)
    return np.asarray(shape)


def _tail(rng: np.random.Generator, side: int, centre: np.ndarray, radius: float) -> Shape:
    """One long, thin part in soft bends, as of an appendicularian or a chaetognath."""
    canvas = np.zeros((side, side), np.uint8)
    at = centre + 0.6 * radius * _direction(rng)
    heading, bend = rng.uniform(0, 6.28), rng.normal(0, 0.1)
    width, taper = rng.uniform(1, max(2.0, radius / 2)), rng.uniform(0.85, 1.0)
    step_px = max(2.0, radius / 3)
    for _ in range(int(rng.integers(6, 18))):
        to = at + step_px * np.array([np.sin(heading), np.cos(heading)])
        cv2.line(canvas, _xy(at), _xy(to), 1, max(1, round(width)))
        at, width = to, width * taper
        heading, bend = heading + bend, bend + rng.normal(0, 0.08)
    return np.asarray(canvas > 0)


def _shapes(rng: np.random.Generator, side: int, size: float) -> tuple[Shape, list[Shape]]:
    """The object, somewhere near the middle, and its neighbours, which do not cover it."""
    outside = max(0.0, size - 0.4 * side)  # of a large object a part is seen
    centre = side / 2 + rng.normal(0, side / 10, 2) + outside * rng.uniform(0.7, 1.3) * _direction(rng)
    truth = _organism(rng, side, centre, size)
    if not truth.any():
        truth[side // 2 - 2 : side // 2 + 2, side // 2 - 2 : side // 2 + 2] = True
    others = []
    for _ in range(int(rng.choice([0, 1, 2, 4, 7]))):
        touching = rng.random() < 0.5
        radius = size * np.exp(rng.normal(-0.3, 0.5)) if touching else size * np.exp(rng.normal(-0.7, 0.8))
        distance = size + radius * rng.uniform(0.6, 1.1) if touching else rng.uniform(size, size + side)
        other = _organism(rng, side, centre + distance * _direction(rng), max(1.0, radius)) & ~truth
        others.append(np.asarray(other))
    return truth, others


def _appearance(rng: np.random.Generator, side: int, shape: Shape, density: float) -> Field:
    """The optical density of a body: its own level, waves, grain, a rim and a nucleus."""
    inside = cv2.distanceTransform(shape.astype(np.uint8), cv2.DIST_L2, 3)
    radius = max(1.0, float(inside.max()))
    field = np.full((side, side), density, np.float32)
    field += density * rng.choice([0, 0.1, 0.3]) * smooth_field(rng, side, radius)
    field += density * rng.choice([0, 0.05, 0.2, 0.4]) * smooth_field(rng, side, rng.uniform(1, 4))
    kind = rng.random()
    if kind < 0.25:  # a dark rim around a paler inside, or the other way round
        field *= np.where(inside < rng.uniform(1, 1 + radius / 3), rng.uniform(0.6, 1.8), 1)
    elif kind < 0.55:  # nucleus in plasma, gut in jelly
        rows, columns = np.nonzero(inside > 0.3 * radius)
        if rows.size:
            at = rng.integers(rows.size)
            nucleus = _blob(rng, side, np.array([rows[at], columns[at]], float), radius * rng.uniform(0.3, 0.8))
            field *= np.where(nucleus, rng.uniform(1.3, 5), rng.uniform(0.3, 1))
    elif kind < 0.75:  # thicker in the middle
        field *= 0.3 + 0.7 * np.sqrt(inside / radius)
    return np.asarray(np.where(shape, np.maximum(field, 0), 0), np.float32)


def _image(rng: np.random.Generator, truth: Shape, others: list[Shape]) -> UInt8[np.ndarray, "side side"]:
    side = len(truth)
    density = float(np.exp(rng.uniform(np.log(0.07), np.log(1.3))))
    field = _appearance(rng, side, truth, density)
    alike = rng.random() < 0.5
    for other in others:
        level = density * np.exp(rng.normal(0, 0.25 if alike else 0.8))
        field = np.where(other, _appearance(rng, side, other, level), field)
    for _ in range(int(rng.choice([0, 0, 3, 10]))):  # dust
        y, x = rng.integers(0, side, 2)
        cv2.circle(field, (int(x), int(y)), int(rng.integers(0, 3)), float(rng.uniform(0, 1)), -1)
    field = cv2.GaussianBlur(field, (0, 0), float(rng.choice([0.3, 0.7, 1.2, 2.0])))
    ground = rng.uniform(120, 255) * np.exp(-rng.choice([0, 0.02, 0.06]) * smooth_field(rng, side, side / 2))
    ground = ground * np.exp(-density * rng.choice([0, 0, 0.05, 0.15]) * smooth_field(rng, side, rng.uniform(2, 12)))
    image = ground * np.exp(-field) + rng.choice([0.5, 2, 5]) * rng.normal(size=(side, side))
    if rng.random() < 0.1:
        image = 255 - image
    image = np.clip(image, 0, 255).astype(np.uint8)
    if rng.random() < 0.4:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(50, 95))]
        image = cv2.imdecode(cv2.imencode(".jpg", image, quality)[1], cv2.IMREAD_GRAYSCALE)
    return np.asarray(image, np.uint8)


def _probability(
    rng: np.random.Generator, image: UInt8[np.ndarray, "side side"], truth: Shape, others: list[Shape], size: float
) -> Field:
    """What a network might answer: an outline that is off, parts missing, neighbours taken for the object."""
    side = len(truth)
    believed = truth.copy()
    for other in others:
        if rng.random() < 0.35:
            believed |= other
    kind = rng.random()
    if kind < 0.38:  # a part is not seen, or some of the surroundings are
        believed &= smooth_field(rng, side, size * rng.uniform(0.7, 2.5)) > rng.normal(-1.2, 0.5)
        believed |= smooth_field(rng, side, size * rng.uniform(0.7, 2)) > rng.normal(2.2, 0.5)
    elif kind < 0.57:  # a threshold: dark parts and dark neighbours
        greys = np.quantile(image[truth] if rng.random() < 0.7 else image, rng.uniform(0.2, 0.95))
        believed = cv2.GaussianBlur((image <= greys).astype(np.float32), (0, 0), 1.0) > 0.5
    elif kind < 0.66:  # thin parts are lost
        width = 2 * int(rng.integers(1, 5)) + 1
        believed = cv2.morphologyEx(believed.astype(np.uint8), cv2.MORPH_OPEN, np.ones((width, width))) > 0
    elif kind < 0.7:
        believed[:] = False
    elif kind < 0.94:  # much of the ground is taken for the object
        believed |= smooth_field(rng, side, size * rng.uniform(0.7, 3)) > rng.normal(-0.8, 0.9)
    distance = signed_distance(believed)
    wobble = size * rng.choice([0.0, 0.05, 0.15, 0.3])
    distance = (
        distance + rng.normal(0, 0.08 * size + 0.7) + wobble * smooth_field(rng, side, size * rng.uniform(0.4, 2))
    )
    return np.asarray(1 / (1 + np.exp(-np.clip(distance / rng.uniform(0.4, 3.5), -20, 20))), np.float32)


def _without_pinholes(mask: Shape) -> Shape:
    return np.asarray(cv2.medianBlur(mask.astype(np.uint8), 3) > 0)


def _direction(rng: np.random.Generator) -> np.ndarray:
    angle = rng.uniform(0, 2 * np.pi)
    return np.array([np.sin(angle), np.cos(angle)])


def _xy(point: np.ndarray) -> tuple[int, int]:
    return round(float(point[1])), round(float(point[0]))
