"""What `assisting.py` compares with: each gives the mask that one click makes of an image's mask so far."""

from collections.abc import Callable

import cv2
import numpy as np
from skimage.graph import MCP_Geometric
from skimage.segmentation import random_walker

from plankseg.config import AssistConfig, AssistMethod
from plankseg.imaging.arrays import Mask
from plankseg.interactive.evidence import Evidence, signed_distance
from plankseg.interactive.prompts import Click, Prompts
from plankseg.interactive.repair import METHODS, repair_mask

DAB_PX = 16
LARGEST_WALK_PX = 160
Answer = Callable[[Evidence, tuple[Click, ...]], Mask]
"""The mask after the last of the clicks; `evidence.mask` is the one before it."""


def ours(method: AssistMethod) -> Answer:
    """A method of the recipe; only the new click is shown to it."""
    config = AssistConfig(method=method)
    return lambda evidence, clicks: repair_mask(
        evidence.image, evidence.probability, evidence.mask, Prompts(clicks[-1:]), config
    )


def dab(evidence: Evidence, clicks: tuple[Click, ...]) -> Mask:
    """A dab of the brush, 16 px wide."""
    pixel = clicks[-1].pixel(evidence.mask.shape)
    return np.where(_radius(evidence.mask, pixel) <= DAB_PX / 2, clicks[-1].is_positive, evidence.mask)


def grab_cut(evidence: Evidence, clicks: tuple[Click, ...], *, in_colour: bool = False) -> Mask:
    """GrabCut (Rother et al. 2004): all clicks as seeds, mask and probability as the probable rest."""
    image = cv2.cvtColor(evidence.image, cv2.COLOR_GRAY2BGR)
    if in_colour:
        image = cv2.applyColorMap(evidence.image, cv2.COLORMAP_JET)
    assert evidence.probability is not None
    labels = np.where(evidence.mask, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    labels[evidence.mask & (evidence.probability > 0.99)] = cv2.GC_PR_FGD
    labels[~evidence.mask & (evidence.probability < 0.01)] = cv2.GC_PR_BGD
    for click in clicks:
        seed = cv2.GC_FGD if click.is_positive else cv2.GC_BGD
        labels[_radius(evidence.mask, click.pixel(evidence.mask.shape)) <= 2] = seed
    if not (np.isin(labels, (0, 2)).any() and np.isin(labels, (1, 3)).any()):
        return dab(evidence, clicks)
    cv2.setRNGSeed(0)
    try:
        cv2.grabCut(image, labels, None, np.zeros((1, 65)), np.zeros((1, 65)), 2, cv2.GC_INIT_WITH_MASK)
    except cv2.error:  # fewer pixels on one side than it has clusters
        return dab(evidence, clicks)
    return np.asarray(labels & 1 == 1)


def grab_cut_in_colour(evidence: Evidence, clicks: tuple[Click, ...]) -> Mask:
    """GrabCut on the grey spread over colours."""
    return grab_cut(evidence, clicks, in_colour=True)


def walker(evidence: Evidence, clicks: tuple[Click, ...]) -> Mask:
    """Random walker (Grady 2006): seeds are the clicks, and the mask's two sides where they are deep enough."""
    height, width = evidence.mask.shape
    scale = min(1.0, LARGEST_WALK_PX / max(height, width))
    size = (max(2, round(width * scale)), max(2, round(height * scale)))
    grey = cv2.resize(evidence.image, size, interpolation=cv2.INTER_AREA)
    mask = cv2.resize(evidence.mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    seeds = np.zeros(mask.shape, np.int32)
    distance = signed_distance(mask)
    pixels = []
    for click in clicks:
        row, column = click.pixel((height, width))
        pixels.append((min(int(row * scale), size[1] - 1), min(int(column * scale), size[0] - 1)))
    last = pixels[-1]
    far = _radius(mask, last) > 3 * abs(float(distance[last])) + 3
    seeds[far & (distance > 2)], seeds[far & (distance < -2)] = 1, 2
    for pixel, click in zip(pixels, clicks, strict=True):
        seeds[_radius(mask, pixel) <= 1] = 1 if click.is_positive else 2
    if len(np.unique(seeds[seeds > 0])) < 2:
        return dab(evidence, clicks)
    labels = random_walker(grey.astype(float), seeds, beta=130, mode="cg_j", tol=1e-2)
    return cv2.resize((labels == 1).astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) > 0


def geodesic(evidence: Evidence, clicks: tuple[Click, ...]) -> Mask:
    """Geodesic distance from the click over grey and log-odds, up to twice the click's depth in the error."""
    click = clicks[-1]
    pixel = click.pixel(evidence.mask.shape)
    grey = cv2.GaussianBlur(evidence.image, (0, 0), 0.8).astype(np.float32)
    span = max(12.0, float(np.subtract(*np.percentile(grey, (98, 2)))))
    assert evidence.probability is not None
    odds = np.log(np.clip(evidence.probability, 0.02, 0.98) / np.clip(1 - evidence.probability, 0.02, 0.98))
    cost = 0.3 + 6 * np.abs(grey - grey[pixel]) / span + 0.3 * np.maximum(0, -odds if click.is_positive else odds)
    distance, _ = MCP_Geometric(cost).find_costs([pixel])
    near = distance <= max(1.0, evidence.depth(pixel))
    return evidence.mask | near if click.is_positive else evidence.mask & ~near


def _radius(mask: Mask, pixel: tuple[int, int]) -> np.ndarray:
    rows, columns = np.ogrid[: mask.shape[0], : mask.shape[1]]
    return np.asarray(np.hypot(rows - pixel[0], columns - pixel[1]))


RIVALS: dict[str, Answer] = {
    "dab": dab,
    "grabcut": grab_cut,
    "grabcut-colour": grab_cut_in_colour,
    "walker": walker,
    "geodesic": geodesic,
}
ANSWERS: dict[str, Answer] = {**{name: ours(name) for name in METHODS}, **RIVALS}
