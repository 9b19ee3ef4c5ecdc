"""A model and the conventional methods beside it, as they are read from what was recorded with the model.

Nothing here opens an image: `plankseg status` reads it in an instant.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Half = Literal["selection", "test"]
HALVES = {"selection": "deciding", "test": "test"}
"""What the halves of the validation set are called for people."""

EARLIER_WORDS = {
    "selection half of the": "deciding half of the",
    "holdout of the source": "part of the source that is not trained on",
}

Scores = Mapping[str, Sequence[float | None]]
"""By image: Dice, and Dice off the outline (None in the record of an older plankseg)."""

FEWEST_TO_TELL = 6
"""Of fewer images all differ in one direction by chance more often than once in twenty (sign test)."""


def validation_words(recorded: str) -> str:
    """What the images of a model's Dice are called now, from the name that an earlier plankseg may have recorded."""
    for earlier, now in EARLIER_WORDS.items():
        recorded = recorded.replace(earlier, now)
    return recorded


@dataclass(frozen=True)
class Standing:
    """One line of the table: a model or a conventional method on the images it gave a mask for."""

    name: str
    images: int
    dice: float
    dice_off_outline: float | None
    tenth_percentile: float
    below_08: float


@dataclass(frozen=True)
class RivalVerdict:
    """A model against the conventional method that came closest to it or beat it most, on the same images."""

    rival: str
    images: int
    model_dice: float
    rival_dice: float
    difference: float
    low: float
    high: float
    half: Half | None = None  # of the validation set; unknown of models that an earlier plankseg trained

    @property
    def better(self) -> bool:
        """Whether the model is better beyond doubt: 95 % bounds above 0, on six images at least."""
        return self.images >= FEWEST_TO_TELL and self.low > 0

    def words(self) -> str:
        """The verdict as half a sentence."""
        if self.better:
            outcome = f"better than the {self.rival}"
        elif self.images < FEWEST_TO_TELL:
            outcome = f"not shown to be better than the {self.rival} (below {FEWEST_TO_TELL} images)"
        elif self.high < 0:
            outcome = f"worse than the {self.rival}, which needs no model"
        else:
            outcome = f"not clearly different from the {self.rival}, which needs no model"
        where = " of the test half" if self.half == "test" else ""
        return (
            f"{outcome}: Dice {self.model_dice:.3f} against {self.rival_dice:.3f} on the {self.images} images{where}"
            f" for which both gave a mask, {self.difference:+.3f} (95 % confidence interval {self.low:+.3f} to "
            f"{self.high:+.3f})"
        )


def standings_of(metrics: Mapping[str, Any], half: Half, *, model: str) -> list[Standing]:
    """A model's line and those of its rivals on one half of the validation set; empty where nothing was judged there.

    `metrics` are those recorded with the model; where no conventional method was judged its line stands alone.
    """
    own = model_scores(metrics, half)
    if not own:
        return []
    rivals = metrics.get("rivals", {}).get(half, {})
    return [_standing(model, own), *(_standing(name, scores) for name, scores in rivals.items())]


def recorded_verdict(metrics: Mapping[str, Any]) -> RivalVerdict | None:
    """The model against its strongest rival, as it was judged when it was trained; None where no rival was."""
    recorded = metrics.get("against_rivals")
    return RivalVerdict(**recorded) if recorded else None


def model_scores(metrics: Mapping[str, Any], half: Half) -> dict[str, list[float | None]]:
    """The model's own Dice and Dice off the outline by image, as they were recorded."""
    card = metrics.get("measures", {}).get(half)
    if not card:
        return {}
    off_outline = card.get("dice_off_outline", {})
    return {image_id: [values[0], off_outline.get(image_id)] for image_id, values in card.get("images", {}).items()}


def _standing(name: str, scores: Scores) -> Standing:
    plain = np.array([values[0] for values in scores.values()], dtype=float)
    off_outline = [values[1] for values in scores.values() if values[1] is not None]
    return Standing(
        name=name,
        images=len(scores),
        dice=float(plain.mean()),
        dice_off_outline=float(np.mean(off_outline)) if off_outline else None,
        tenth_percentile=float(np.quantile(plain, 0.1)),
        below_08=float((plain < 0.8).mean()),
    )
