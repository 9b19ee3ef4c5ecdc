"""Fast versions of costly albumentations transforms for grey squares.

FDA, HistogramMatching and ISONoise are made for colour: a grey square would be repeated three times, transformed
three times and thrown away twice. These take the same parameters, draw the same way and give the same grey values
(tests compare them with albumentations' own), and what depends on a reference alone is computed once.
"""

import os
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Protocol, runtime_checkable

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # or its import asks the network for a newer version

import albumentations as A  # noqa: N812

__all__ = ["GREY_TRANSFORMS", "A", "Referring"]

Squares = UInt8[np.ndarray, "n side side"]


@runtime_checkable
class Referring(Protocol):
    """A transform that varies a square towards one of a few reference squares."""

    def refer_to(self, references: Squares) -> None:
        """Take the references; one of them is drawn in every call."""


class GreyFDA(A.FDA):  # type: ignore[misc]
    """Fourier domain adaptation (Yang and Soatto 2020): the low frequencies take a reference's amplitudes."""

    targets_as_params = ()

    def refer_to(self, references: Squares) -> None:
        """Keep the references' low amplitudes; nothing else of them is ever used."""
        side = references.shape[1]
        rows, columns = _low_frequencies(side, _border(side, self.beta_limit[1]))
        self._amplitudes = [np.abs(np.fft.rfft2(grey.astype(np.float32))[rows, columns]) for grey in references]

    def get_params_dependent_on_data(self, **_: Any) -> dict[str, Any]:
        """Draw a reference and a window."""
        return {"reference": self.py_random.choice(self._amplitudes), "beta": self.py_random.uniform(*self.beta_limit)}

    def apply(self, img: np.ndarray, reference: np.ndarray, beta: float, **_: Any) -> np.ndarray:
        """The square with the reference's amplitudes in the window."""
        return swap_low_amplitudes(img, reference, _border(img.shape[0], beta))


def swap_low_amplitudes(
    square: UInt8[np.ndarray, "side side"], amplitudes: Float32[np.ndarray, "rows columns"], border: int
) -> UInt8[np.ndarray, "side side"]:
    """The square with other amplitudes, and its own phases, in albumentations' window of +-`border` frequencies.

    `amplitudes` are those of frequencies -m..m down and 0..m across, m above `border`.
    """
    side, spare = square.shape[0], amplitudes.shape[1] - 1
    rows, columns = _low_frequencies(side, border)
    reach = columns.stop - 1
    target = amplitudes[spare - reach : spare + reach + 1, : reach + 1]
    spectrum = np.fft.rfft2(square.astype(np.float32))
    low = spectrum[rows, columns]
    own = np.abs(low)
    phases = np.divide(low, own, out=np.ones_like(low), where=own > 0)
    spectrum[rows, columns] = low + _window(side, border) * (target - own) * phases
    varied = np.fft.irfft2(spectrum, s=square.shape)
    return np.clip(np.rint(varied), 0, 255).astype(np.uint8)


def _border(side: int, beta: float) -> int:
    return int(np.floor(side * beta))


def _low_frequencies(side: int, border: int) -> tuple[np.ndarray, slice]:
    """Rows and columns of a half spectrum that a window can touch."""
    reach = min(border + 1, side // 2)
    return np.arange(-reach, reach + 1) % side, slice(0, reach + 1)


@lru_cache(maxsize=128)
def _window(side: int, border: int) -> Float32[np.ndarray, "rows columns"]:
    """How much of each frequency is swapped: all of it, half, or nothing.

    Albumentations' window lies one frequency too far up and left, so it holds some frequencies without their mirror
    images. Of the inverse transform it keeps the real part, which is the mean of both: half of such a swap.
    """
    shifted = np.zeros(side, np.float32)
    shifted[max(0, int(side / 2 - 0.5 - border)) : min(int(side / 2 - 0.5 + border), side)] = 1
    inside = np.fft.ifftshift(shifted)
    mirrored = inside[-np.arange(side) % side]
    rows, columns = _low_frequencies(side, border)
    return (np.outer(inside[rows], inside[columns]) + np.outer(mirrored[rows], mirrored[columns])) / 2


class GreyHistogramMatching(A.HistogramMatching):  # type: ignore[misc]
    """The square's grey levels follow a reference's distribution, blended with its own."""

    targets_as_params = ()

    def refer_to(self, references: Squares) -> None:
        """Keep the references' quantiles."""
        self._quantiles = [_quantiles(reference) for reference in references]

    def get_params_dependent_on_data(self, **_: Any) -> dict[str, Any]:
        """Draw a reference and a share."""
        return {
            "reference": self.py_random.choice(self._quantiles),
            "blend_ratio": self.py_random.uniform(*self.blend_ratio),
        }

    def apply(self, img: np.ndarray, reference: np.ndarray, blend_ratio: float, **_: Any) -> np.ndarray:
        """The square through one table of 256 grey levels."""
        return match_levels(img, reference, blend_ratio)


def match_levels(
    square: UInt8[np.ndarray, "side side"], quantiles: Float[np.ndarray, "levels"], share: float
) -> UInt8[np.ndarray, "side side"]:
    """The square's grey levels moved by `share` of the way to those of equal rank among `quantiles`, 256 of them."""
    levels = np.flatnonzero(np.diff(quantiles, prepend=0))  # levels that the reference does not have are no target
    matched = np.floor(np.interp(_quantiles(square), quantiles[levels], levels))
    table = np.rint(share * matched + (1 - share) * np.arange(256)).astype(np.uint8)
    return np.asarray(cv2.LUT(square, table))


def _quantiles(square: UInt8[np.ndarray, "side side"]) -> Float[np.ndarray, "levels"]:
    """Which share of the pixels has at most this grey level, for all 256."""
    counts = cv2.calcHist([square], [0], None, [256], [0, 256]).ravel()
    return np.cumsum(counts, dtype=np.float64) / square.size


class GreyISONoise(A.ISONoise):  # type: ignore[misc]
    """A camera's noise at high sensitivity. Grey has no hue, so its colour part does nothing and is not drawn."""

    def apply(self, img: np.ndarray, intensity: float, random_seed: np.integer, **_: Any) -> np.ndarray:
        """The square with albumentations' luminance noise, draw for draw."""
        deviation = float(cv2.meanStdDev(img)[1][0, 0]) / 255
        counts = np.random.default_rng(random_seed).poisson(deviation * intensity, size=img.shape)
        lighter = img + counts * intensity * (255.0 - img)
        return np.asarray(np.minimum(np.rint(lighter), 255), dtype=np.uint8)


GREY_TRANSFORMS: Mapping[str, type] = {
    "FDA": GreyFDA,
    "HistogramMatching": GreyHistogramMatching,
    "ISONoise": GreyISONoise,
}
