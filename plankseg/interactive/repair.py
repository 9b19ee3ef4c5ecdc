"""Repair of a mask by clicks: each adds or removes the part of the image that it means, and leaves the rest alone."""

from collections.abc import Callable

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

from plankseg.config import AssistConfig, AssistMethod
from plankseg.errors import MaskShapeError
from plankseg.imaging.arrays import Mask
from plankseg.imaging.masks import fill_small_holes
from plankseg.interactive.box_mask import box_mask
from plankseg.interactive.evidence import Evidence, joined_part
from plankseg.interactive.local_contrast import contrast_part, disc_part
from plankseg.interactive.network_part import network_part
from plankseg.interactive.prompts import Prompts

FindPart = Callable[[Evidence, tuple[int, int], bool], Mask]
METHODS: dict[AssistMethod, FindPart] = {"network": network_part, "contrast": contrast_part, "disc": disc_part}
"""Each gives the pixels that a click at a pixel (row, column) means, to be added (True) or removed (False)."""


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
    answer, those of negative ones are not; of two clicks on one pixel the later holds. What is not joined to a click's
    pixel stays as it was, but for small holes, which are filled.

    Raises MaskShapeError where sizes differ, PromptError where a click or the box is not on the image.
    """
    _require_fitting(image.shape, mask=mask, probability=probability)
    pixels = [(click.pixel(image.shape), click.is_positive) for click in prompts.clicks]
    answer = mask.copy()
    if prompts.box is not None:
        window = prompts.box.window(image.shape)
        if not mask[window].any():
            answer |= box_mask(Evidence(image, probability, mask), window)
    for pixel, is_positive in pixels:
        if answer[pixel] != is_positive:
            answer = _changed(Evidence(image, probability, answer), pixel, is_positive, METHODS[config.method])
    filled = fill_small_holes(answer, config.fill_holes_px)
    answer = _without_clicked(answer, filled, [pixel for pixel, is_positive in pixels if not is_positive])
    for pixel, is_positive in pixels:
        answer[pixel] = is_positive
    return answer


def _changed(evidence: Evidence, pixel: tuple[int, int], is_positive: bool, find_part: FindPart) -> Mask:
    """The mask with the click's part added or removed, as far as that is joined to the click."""
    joined = joined_part(find_part(evidence, pixel, is_positive), evidence.mask, pixel, is_positive)
    return np.asarray(evidence.mask | joined if is_positive else evidence.mask & ~joined)


def _without_clicked(mask: Mask, filled: Mask, refused: list[tuple[int, int]]) -> Mask:
    """The filled mask, except for the holes that a person made."""
    _, holes = cv2.connectedComponents((filled & ~mask).astype(np.uint8), connectivity=4)
    kept_open = {int(holes[pixel]) for pixel in refused} - {0}
    return np.asarray(filled & ~np.isin(holes, list(kept_open)))


def _require_fitting(shape: tuple[int, ...], **maps: np.ndarray | None) -> None:
    for name, values in maps.items():
        if values is not None and values.shape != shape:
            raise MaskShapeError(
                f"The {name} is {values.shape[0]} x {values.shape[1]} (rows x columns) but its image is {shape[0]} x"
                f" {shape[1]}. Make it again from this image."
            )
