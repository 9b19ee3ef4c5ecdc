"""Generator of synthetic vignettes with exact masks, in a clean and a noisy domain.

An image is its ground times exp(-optical density), as in a scan by transmitted light. *Clean* images have their
ground wiped to 255, as ZooProcess does; in *noisy* ones objects are paler and lie among clutter.
"""

import io
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from plankseg.errors import SettingsError
from plankseg.imaging.arrays import Grey, Mask
from plankseg.imaging.masks import largest_component
from plankseg.imaging.reading import read_grey
from plankseg.imaging.synthetic.clutter import dust_and_fibres, fragments, mottle, uneven_ground
from plankseg.imaging.synthetic.rasterize import Layer, exact_mask, rasterise
from plankseg.imaging.synthetic.taxa import draw_taxon, organism

Domain = Literal["clean", "noisy"]

SMALLEST_PX = 30
_MEDIAN_PX, _EGG_MEDIAN_PX, _SPREAD = 70, 55, 0.6
_MARGIN = 0.2  # of the object's longer side, as ZooProcess cuts its vignettes
_LIGHTEST_OBJECT = 236  # in clean images every pixel of the object is at most this light, however thin its antennae
_FAINTEST = 0.07  # density: about sixteen grey levels, so that a person still sees antennae through the noise

_FOOTER_ROWS, _FOOTER_GREY = 31, 85
_BAR_LEFT, _BAR_PX = 9, 94  # one millimetre at 2400 dpi
_LEGEND = (  # "1 mm", in ZooProcess's place
    "  #                      ",
    " ##                      ",
    "# #      ### ##   ### ## ",
    "  #      #  #  #  #  #  #",
    "  #      #  #  #  #  #  #",
    "  #      #  #  #  #  #  #",
    "  #      #  #  #  #  #  #",
)


@dataclass(frozen=True)
class SyntheticImage:
    """One image as a file and as it is read, its exact mask (one 8-connected object) and its taxon."""

    jpeg: bytes
    grey: Grey
    mask: Mask
    taxon: str


def draw_sample(domain: Domain, seed: int, *, max_side_px: int = 600, footer_share: float = 0.0) -> SyntheticImage:
    """Draw one image of a domain, the same for the same arguments in any process.

    The object's longer side is log-normal, median 70 px (eggs 55), from 30 to `max_side_px`; margins add to it.
    `footer_share` of the clean images get ZooProcess's footer of 31 rows, with a 1 mm bar; the mask is False there.
    Raises SettingsError for a side, a seed or a share that cannot be drawn.
    """
    _check(seed, max_side_px, footer_share)
    rng = np.random.default_rng([("clean", "noisy").index(domain), seed])
    taxon = draw_taxon(rng)
    density, mask = _draw_object(taxon, max_side_px, rng)
    if domain == "noisy":
        grey, quality = _noisy(density, mask, rng), int(rng.integers(60, 91))
    else:
        grey, quality = _clean(density, mask), 100
        if rng.random() < footer_share:
            grey = np.vstack([grey, _footer(grey.shape[1])])
            mask = np.pad(mask, ((0, _FOOTER_ROWS), (0, 0)))
    jpeg = _encode(grey, quality)
    return SyntheticImage(jpeg=jpeg, grey=read_grey(jpeg), mask=mask, taxon=taxon)


def _check(seed: int, max_side_px: int, footer_share: float) -> None:
    if seed < 0:
        raise SettingsError(f"The seed of a synthetic image is {seed}; choose 0 or more.")
    if max_side_px < SMALLEST_PX:
        raise SettingsError(
            f"Synthetic objects of at most {max_side_px} px are asked for; allow {SMALLEST_PX} or more."
        )
    if not 0 <= footer_share <= 1:
        raise SettingsError(f"The share of images with a footer is {footer_share}; choose 0 to 1.")


def _draw_object(taxon: str, max_side_px: int, rng: np.random.Generator) -> tuple[Layer, Mask]:
    """Density and mask of one organism in its vignette; the density outside the mask is only a soft edge."""
    median = _EGG_MEDIAN_PX if taxon == "egg" else _MEDIAN_PX
    longest = float(np.clip(median * np.exp(rng.normal(0, _SPREAD)), SMALLEST_PX, max_side_px))
    drawing = rasterise(organism(taxon, rng), longest_px=longest, turn=rng.uniform(0, 2 * np.pi))
    mask = largest_component(exact_mask(drawing.coverage))
    texture = np.clip(1 + 0.2 * mottle(mask.shape, max(2.0, longest / 15), rng), 0.5, 1.6)
    own = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8))  # without pieces that the mask has lost
    density = cv2.GaussianBlur(drawing.density * texture * own, (0, 0), rng.uniform(0.3, 0.7))
    margin = max(4, round(longest * _MARGIN))
    return np.pad(density, margin), np.pad(mask, margin)


def _clean(density: Layer, mask: Mask) -> Grey:
    body = np.minimum(255 * np.exp(-density), _LIGHTEST_OBJECT)
    return np.where(mask, body, 255).round().astype(np.uint8)


def _noisy(density: Layer, mask: Mask, rng: np.random.Generator) -> Grey:
    pale = np.where(mask, np.maximum(density * rng.uniform(0.3, 0.9), _FAINTEST), density * 0.3)
    clutter = np.maximum(fragments(mask, rng), dust_and_fibres(mask.shape, rng))
    light = uneven_ground(mask.shape, rng) * np.exp(-pale - clutter)
    light = cv2.GaussianBlur(light, (0, 0), rng.uniform(0.2, 0.8))
    noise = rng.normal(0, rng.uniform(1, 4), mask.shape)
    grey: Grey = np.clip(light + noise, 0, 255).round().astype(np.uint8)
    return grey


def _footer(width: int) -> UInt8[np.ndarray, "31 w"]:
    footer = np.full((_FOOTER_ROWS, width), 255, np.uint8)
    legend = np.array([[ink == "#" for ink in row] for row in _LEGEND])[:, : width - _BAR_LEFT]
    footer[14:21, _BAR_LEFT : _BAR_LEFT + legend.shape[1]][legend] = _FOOTER_GREY
    footer[25:27, _BAR_LEFT : _BAR_LEFT + _BAR_PX] = _FOOTER_GREY  # cut where the image is narrower, as there
    return footer


def _encode(grey: Grey, quality: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(grey).save(out, "JPEG", quality=quality)
    return out.getvalue()
