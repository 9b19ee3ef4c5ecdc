"""A click's part by the click network: a window around the click, at a scale at which its part is a few pixels deep.

The greys of what the network takes for object and for ground vote as well. Where the ground is even, the outline by
contrast goes before the network.
"""

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float32
from safetensors.torch import load_file

from plankseg.imaging.arrays import Mask
from plankseg.interactive.click_features import click_features
from plankseg.interactive.click_network import STEP_PX, ClickNetwork, widths_of
from plankseg.interactive.even_ground import even_ground_part
from plankseg.interactive.evidence import Evidence, joined_part
from plankseg.interactive.local_contrast import contrast_part, grey_votes

WEIGHTS = Path(__file__).with_name("click_network.safetensors")
CUTS = (0.7, 0.9, 0.97, 0.995)
"""Pixels of at least this probability change. Higher than one half: a click that does too little is repeated. The next
one is taken where that would change the mask as a whole, and not repair it."""

MOST_REMOVED, MOST_ADDED = 0.75, 3.0
"""Shares of the mask's area; what is more is no repair."""

SMALLEST_PART_PX = 2
MOST_OF_IMAGE = 0.8
"""What contrast adds may be many times the mask's area: a tail, where only the body was found."""

GREY_WEIGHT = 0.6
"""Of the log-odds by grey beside the network's."""

DEPTH_PX = 8.0
"""The image is scaled until the click is so far from the mask's outline."""

LARGEST_ZOOM = 3.0
WINDOW_PX = 128
"""Half the side of the scaled window."""


def network_part(evidence: Evidence, pixel: tuple[int, int], is_positive: bool) -> Mask:
    """The pixels that are meant by a click at `pixel` (row, column)."""
    area = int(np.count_nonzero(evidence.mask))
    most = area * (MOST_ADDED if is_positive else MOST_REMOVED) if area else evidence.mask.size
    by_contrast = even_ground_part(evidence, pixel, is_positive, most_pale=most)
    if by_contrast is not None:
        largest = evidence.mask.size * MOST_OF_IMAGE if is_positive else most
        if SMALLEST_PART_PX <= np.count_nonzero(by_contrast) <= largest:
            return by_contrast
    if not area:
        return contrast_part(evidence, pixel, is_positive)
    scale = _scale(evidence.depth(pixel))
    reach = int(WINDOW_PX / scale)
    window = tuple(slice(max(0, at - reach), at + reach + 1) for at in pixel)
    near = (pixel[0] - window[0].start, pixel[1] - window[1].start)
    probability = None if evidence.probability is None else evidence.probability[window]
    close_by = Evidence(evidence.image[window], probability, evidence.mask[window])
    logits = _scaled_logits(close_by, near, is_positive, scale)
    first = joined_part(logits >= _logit(CUTS[0]), close_by.mask, near, is_positive)
    logits = logits + GREY_WEIGHT * grey_votes(close_by, first, is_positive)
    part = np.zeros_like(evidence.mask)
    for cut in CUTS:
        part[window] = joined_part(logits >= _logit(cut), close_by.mask, near, is_positive)
        if np.count_nonzero(part) <= most:
            break
    return part


def _logit(probability: float) -> float:
    return float(np.log(probability / (1 - probability)))


@lru_cache(maxsize=1)
def packaged_network() -> ClickNetwork:
    """The click network that comes with the installation, ready to be asked."""
    weights = load_file(WEIGHTS)
    network = ClickNetwork(widths_of(weights))
    network.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
    network.eval().to(memory_format=torch.channels_last)
    return network


def _scale(depth_px: float) -> float:
    return min(LARGEST_ZOOM, DEPTH_PX / max(1.0, depth_px))


def _scaled_logits(
    evidence: Evidence, pixel: tuple[int, int], is_positive: bool, scale: float
) -> Float32[np.ndarray, "h w"]:
    height, width = evidence.image.shape
    size = (max(1, round(width * scale)), max(1, round(height * scale)))  # as OpenCV has it
    if size == (width, height):
        return _logits(evidence, pixel, is_positive)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    maps = (evidence.image, evidence.probability, evidence.mask.astype(np.float32))
    image, probability, mask = (
        None if values is None else cv2.resize(values, size, interpolation=how) for values in maps
    )
    scaled = Evidence(np.asarray(image), probability, np.asarray(mask) >= 0.5)
    row, column = ((at + 0.5) * new / old for at, new, old in zip(pixel, size[::-1], (height, width), strict=True))
    logits = _logits(scaled, (min(int(row), size[1] - 1), min(int(column), size[0] - 1)), is_positive)
    return np.asarray(cv2.resize(logits, (width, height), interpolation=cv2.INTER_LINEAR))


def _logits(evidence: Evidence, pixel: tuple[int, int], is_positive: bool) -> Float32[np.ndarray, "h w"]:
    height, width = evidence.image.shape
    features = click_features(evidence, pixel, is_positive=is_positive)
    padded = np.pad(features, [(0, 0), (0, -height % STEP_PX), (0, -width % STEP_PX)], mode="edge")
    with torch.inference_mode():
        maps = torch.from_numpy(padded)[None].contiguous(memory_format=torch.channels_last)
        logits = packaged_network()(maps)
    return np.asarray(logits[0, :height, :width].numpy())
