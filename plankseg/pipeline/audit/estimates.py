"""Shares and means of all masks, from a sample of `draw_by_confidence`, with intervals that hold for small samples.

The share is Clopper and Pearson's (1934). It is exact for equal chances; draws of a stratified sample have unequal
ones, which makes a count vary less (Hoeffding 1956), so that the interval holds the truth at least as often. The mean
of a figure between 0 and 1 has the interval of Gaffke (2005): quantiles of its mean under random weights, with the
worst possible value as one more observation. For figures that are 0 or 1 it is the interval of Clopper and Pearson.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEVEL = 0.95
WEIGHTINGS = 20_000
_AT_ONCE = 1_000_000  # random weights in memory


@dataclass(frozen=True)
class Estimate:
    """A figure of all masks, and the interval that holds it with the stated probability; None where nothing says it."""

    value: float | None
    low: float
    high: float

    def __str__(self) -> str:
        value = "unknown" if self.value is None else f"{self.value:.3f}"
        return f"{value}, {100 * LEVEL:.0f} % confidence interval {self.low:.3f} to {self.high:.3f}"


def estimate_share(verdicts: Sequence[bool | None], *, is_census: bool = False, level: float = LEVEL) -> Estimate:
    """The share that is true. None is a draw without verdict: the worst for each side of the interval.

    `is_census`: the draws are all that there is, so only draws without verdict leave a doubt.
    """
    from scipy.special import betaincinv

    count, true = len(verdicts), sum(bool(verdict) for verdict in verdicts)
    at_most = true + sum(verdict is None for verdict in verdicts)
    known = count - (at_most - true)
    value = true / known if known else None
    if is_census:
        return Estimate(value, true / count, at_most / count)
    tail = (1 - level) / 2
    low = float(betaincinv(true, count - true + 1, tail)) if true else 0.0
    high = float(betaincinv(at_most + 1, count - at_most, 1 - tail)) if at_most < count else 1.0
    return Estimate(value, low, high)


def estimate_mean(figures: Sequence[float | None], *, is_census: bool = False, level: float = LEVEL) -> Estimate:
    """The mean of figures between 0 and 1. None is a draw without a figure: the worst for each side of the interval."""
    known = [figure for figure in figures if figure is not None]
    if not figures:
        return Estimate(None, 0.0, 1.0)
    value = float(np.mean(known)) if known else None
    lowest, highest = (np.array([end if figure is None else figure for figure in figures]) for end in (0.0, 1.0))
    if is_census:
        return Estimate(value, float(lowest.mean()), float(highest.mean()))
    tail = (1 - level) / 2
    return Estimate(value, _quantile([*lowest, 0.0], tail), _quantile([*highest, 1.0], 1 - tail))


def _quantile(figures: Sequence[float], tail: float) -> float:
    """A quantile of the mean of figures under weights drawn evenly from all that add up to 1; the same every time."""
    rng = np.random.default_rng(0)
    values, rows = np.asarray(figures, float), max(1, _AT_ONCE // len(figures))
    means = []
    for start in range(0, WEIGHTINGS, rows):
        weights = rng.standard_exponential((min(rows, WEIGHTINGS - start), len(values)))
        means.append(weights @ values / weights.sum(axis=1))
    return float(np.clip(np.quantile(np.concatenate(means), tail), 0.0, 1.0))
