"""Training of the click network on drawn scenes, with clicks as a person would make them."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import count, islice

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float32

from plankseg.interactive.click_features import click_features
from plankseg.interactive.click_network import ClickNetwork
from plankseg.interactive.drawn_scenes import Scene, draw_scene
from plankseg.interactive.evidence import Evidence
from plankseg.learning.network.precision import autocast

SIDE_PX = 64
SMALLEST_ERROR_PX = 6


@dataclass(frozen=True)
class ClickTraining:
    """How long and how fast; weights depend on all of it."""

    steps: int = 1800
    batch_size: int = 32
    learning_rate: float = 3e-3
    seed: int = 0


@dataclass(frozen=True)
class Lesson:
    """A click's features, the pixels that it means, and how much each pixel counts."""

    features: Float32[np.ndarray, "channels side side"]
    meant: Float32[np.ndarray, "side side"]
    weight: Float32[np.ndarray, "side side"]


def draw_lessons(rng: np.random.Generator) -> Iterator[Lesson]:
    """A scene, and clicks into two of its errors, missing and too much: mostly the largest, mostly near its middle."""
    scene = _vignette(rng, draw_scene(rng, SIDE_PX))
    for is_positive in (True, False):
        wrong = scene.truth & ~scene.mask if is_positive else scene.mask & ~scene.truth
        count, labels, stats, _ = cv2.connectedComponentsWithStats(wrong.astype(np.uint8), connectivity=8)
        areas = stats[1:, cv2.CC_STAT_AREA].astype(float)
        if count == 1 or areas.max() < SMALLEST_ERROR_PX:
            continue
        areas[areas < SMALLEST_ERROR_PX] = 0
        chosen = int(areas.argmax()) if rng.random() < 0.7 else int(rng.choice(len(areas), p=areas / areas.sum()))
        meant = labels == chosen + 1
        probability = None if rng.random() < 0.15 else scene.probability
        evidence = Evidence(scene.image, probability, scene.mask)
        features = click_features(evidence, _click_into(rng, meant), is_positive=is_positive)
        possible = ~scene.mask if is_positive else scene.mask
        weight = possible & ~(wrong & ~meant)  # other errors: it is not said what becomes of them
        pad = [(0, SIDE_PX - len(meant)), (0, SIDE_PX - meant.shape[1])]
        yield Lesson(
            np.pad(features, [(0, 0), *pad], mode="edge"),
            np.pad(meant, pad).astype(np.float32),
            np.pad(weight, pad).astype(np.float32),
        )


def _vignette(rng: np.random.Generator, scene: Scene) -> Scene:
    """The scene, or a window around its object, as vignettes are cut; sometimes enlarged twice."""
    if rng.random() < 0.6:
        rows, columns = np.flatnonzero(scene.truth.any(1)), np.flatnonzero(scene.truth.any(0))
        window = []
        for along in (rows, columns):
            margin = 3 + rng.uniform(0.05, 0.5) * (along[-1] - along[0])
            window.append(slice(max(0, int(along[0] - margin)), int(along[-1] + margin) + 1))
        cut = tuple(window)
        scene = Scene(scene.image[cut], scene.truth[cut], scene.probability[cut], scene.mask[cut])
    if 2 * max(scene.image.shape) <= SIDE_PX and rng.random() < 0.7:
        values = [scene.image, *(np.asarray(part, np.float32) for part in (scene.truth, scene.probability, scene.mask))]
        image, truth, probability, mask = (cv2.resize(part, None, fx=2, fy=2) for part in values)
        scene = Scene(image, truth >= 0.5, probability, mask >= 0.5)
    return scene


def _click_into(rng: np.random.Generator, meant: Bool[np.ndarray, "side side"]) -> tuple[int, int]:
    depth = cv2.distanceTransform(np.pad(meant.astype(np.uint8), 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
    deep = depth >= depth.max() * rng.choice([1.0, 0.8, 0.4, 0.0], p=[0.5, 0.2, 0.2, 0.1])
    rows, columns = np.nonzero(deep & meant)
    at = int(rng.integers(rows.size))
    return int(rows[at]), int(columns[at])


Batch = list[torch.Tensor]
"""Features, meant and weight of a step."""


def draw_batch(lessons: Iterator[Lesson], size: int) -> Batch:
    """The next so many lessons."""
    batch = [(it.features, it.meant, it.weight) for it in islice(lessons, size)]
    return [torch.from_numpy(np.stack(part)) for part in zip(*batch, strict=True)]


def endless_lessons(rng: np.random.Generator) -> Iterator[Lesson]:
    """Lessons of one scene after the other."""
    return (lesson for _ in count() for lesson in draw_lessons(rng))


def _batches(training: ClickTraining) -> Iterator[Batch]:
    """The batch of each step; one thread draws the next one while the network learns from this one.

    A thread and not a process: `cv2` and numpy let other threads run, and nothing has to end with the training.
    """
    lessons = endless_lessons(np.random.default_rng([training.seed, 0]))
    draw = partial(draw_batch, lessons, training.batch_size)
    with ThreadPoolExecutor(1) as drawing:
        following = drawing.submit(draw)
        for _ in range(training.steps):
            batch = following.result()
            following = drawing.submit(draw)
            yield batch


def train_click_network(
    training: ClickTraining,
    *,
    start: ClickNetwork | None = None,
    batches: Iterable[Batch] | None = None,
    device: str = "cpu",
    report: Callable[[int, float], None] = lambda *_: None,
) -> ClickNetwork:
    """A click network from random weights, AdamW and a cosine; `report(step, mean loss)` every hundred steps.

    `batches` may be drawn elsewhere, one for each step. Returns a network on the CPU.
    """
    with torch.random.fork_rng():
        torch.manual_seed(training.seed)
        network = start or ClickNetwork()
        network.to(device=device, memory_format=torch.channels_last).train()
        optimizer = torch.optim.AdamW(network.parameters(), lr=training.learning_rate, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, training.learning_rate, training.steps, pct_start=0.1)
        losses: list[float] = []
        for step, batch in enumerate(batches or _batches(training), 1):
            features, meant, weight = (part.to(device) for part in batch)
            with autocast("auto", torch.device(device)):
                logits = network(features.to(memory_format=torch.channels_last)).float()
            loss = _loss(logits, meant, weight)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            losses.append(float(loss.detach()))
            if step % 100 == 0:
                report(step, float(np.mean(losses)))
                losses = []
        network.cpu().eval()
        return network


def _loss(logits: torch.Tensor, meant: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Cross-entropy where the click may change something, and Dice of the pixels that it means."""
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(logits, meant, weight, reduction="sum")
    probability = logits.sigmoid() * weight
    overlap = 2 * (probability * meant).sum((1, 2)) + 1
    dice = overlap / (probability.sum((1, 2)) + meant.sum((1, 2)) + 1)
    return entropy / weight.sum() + 0.5 * (1 - dice).mean()
