"""Repair of a mask by clicks: each adds or removes the part of the image that it means, and leaves the rest alone."""

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

from plankseg.config import AssistConfig, AssistMethod
from plankseg.errors import MaskShapeError
from plankseg.imaging.arrays import Mask
from plankseg.imaging.threshold import otsu_mask
from plankseg.interactive.evidence import Evidence
from plankseg.interactive.local_contrast import contrast_part
from plankseg.interactive.prompts import Box, Prompts

METHODS: dict[AssistMethod, Callable[[Evidence, tuple[int, int]], Mask]] = {"contrast": contrast_part}
"""Each gives the part of the image that a click at a pixel means, whether it is to be added or removed."""


def repair_mask(
    image: UInt8[np.ndarray, "h w"],
    probability: Float32[np.ndarray, "_ _"] | None,
    mask: Bool[np.ndarray, "_ _"],
    prompts: Prompts,
    config: AssistConfig,
) -> Bool[np.ndarray, "h w"]:
    """The mask as the prompts want it; neither argument is changed, and equal arguments give equal answers.

    `probability` (0 to 1) is the model's, None where there is no model yet. `mask` is what the person sees. `prompts`
    are those since that mask was made, or all that there were: a click that the mask agrees with already changes
    nothing. A box starts a mask where there is none, and without a model. The pixels of positive clicks are in the
    answer, those of negative ones are not; of two clicks on one pixel the later holds.

    Raises MaskShapeError where sizes differ, PromptError where a click or the box is not on the image.
    """
    _require_fitting(image.shape, mask=mask, probability=probability)
    pixels = [(click.pixel(image.shape), click.is_positive) for click in prompts.clicks]
    evidence = Evidence(image, probability, mask.copy())
    if prompts.box is not None:
        evidence = replace(evidence, mask=_with_box(evidence, prompts.box))
    find_part = METHODS[config.method]
    for pixel, is_positive in pixels:
        if evidence.mask[pixel] != is_positive:
            part = find_part(evidence, pixel)
            evidence = replace(evidence, mask=evidence.mask | part if is_positive else evidence.mask & ~part)
    answer = _fill_small_holes(evidence.mask, config.fill_holes_px)
    for pixel, is_positive in pixels:
        answer[pixel] = is_positive
    return answer


def _require_fitting(shape: tuple[int, ...], **maps: np.ndarray | None) -> None:
    for name, values in maps.items():
        if values is not None and values.shape != shape:
            raise MaskShapeError(
                f"The {name} is {values.shape[0]} x {values.shape[1]} (rows x columns) but its image is {shape[0]} x"
                f" {shape[1]}. Make it again from this image."
            )


def _with_box(evidence: Evidence, box: Box) -> Mask:
    window = box.window(evidence.image.shape)
    mask = evidence.mask.copy()
    if not mask[window].any():
        mask[window] = otsu_mask(evidence.image[window])
    return mask


def _fill_small_holes(mask: Mask, most_px: int) -> Mask:
    """The mask with its holes of at most `most_px` pixels filled; what touches the image's border is no hole."""
    ground = np.pad((~mask).astype(np.uint8), 1, constant_values=1)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(ground, connectivity=4)
    small = stats[:, cv2.CC_STAT_AREA] <= most_px
    small[[0, labels[0, 0]]] = False  # the object itself, and what is around it
    return np.asarray(mask | small[labels][1:-1, 1:-1])
