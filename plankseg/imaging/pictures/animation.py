"""Animated GIF of a prediction: the image, each test-time view, their mean, the object cut out."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from plankseg.imaging.arrays import Grey, Mask, Probability
from plankseg.imaging.masks import dice
from plankseg.imaging.pictures.overlay import CORRECTION, GalleryRow, Picture, gallery, heatmap, outline
from plankseg.imaging.shape import without_background

FRAME_MS = 700
LAST_FRAME_MS = 2500


def frames(grey: Grey, views: Sequence[tuple[str, Probability]], *, cell_px: int = 360) -> list[Picture]:
    """Before, every view (name and probabilities at the image's own size), their disagreement, after, cut out."""
    mean_probability = np.mean([probability for _, probability in views], axis=0)
    mask: Mask = mean_probability >= 0.5
    captioned = [(_plain(grey), "before")]
    for number, (name, probability) in enumerate(views, start=1):
        view_mask: Mask = probability >= 0.5
        caption = f"view {number} of {len(views)}: {name.replace('_', ' ')}, Dice to all {dice(view_mask, mask):.2f}"
        captioned.append((outline(grey, view_mask), caption))
    if len(views) > 1:
        disagreement = np.var([probability for _, probability in views], axis=0)
        factor = captioned[0][0].shape[0] // grey.shape[0]
        captioned.append(
            (heatmap(disagreement.repeat(factor, axis=0).repeat(factor, axis=1)), "where the views disagree")
        )
    captioned.append((outline(grey, mask, colour=CORRECTION), "after: the mask"))
    captioned.append((_plain(without_background(grey, mask)), "the object alone"))
    return [gallery([GalleryRow((picture,), caption)], cell_px=cell_px) for picture, caption in captioned]


def encode_gif(pictures: Sequence[Picture]) -> bytes:
    """The pictures one after the other, for ever; the last one stays longest. Raises ValueError without a picture."""
    if not pictures:
        raise ValueError("A GIF needs at least one picture; none was given.")
    first, *rest = [Image.fromarray(picture) for picture in pictures]
    out = io.BytesIO()
    times = [FRAME_MS] * len(rest) + [LAST_FRAME_MS]
    first.save(out, "GIF", save_all=True, append_images=rest, duration=times, loop=0)
    return out.getvalue()


def _plain(grey: Grey) -> Picture:
    return outline(grey, np.zeros(grey.shape, dtype=bool))
