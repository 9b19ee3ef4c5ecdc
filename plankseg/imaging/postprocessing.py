"""Post-processing of a model's masks: holes filled, small parts dropped; chosen on images whose masks are known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from plankseg.imaging.arrays import Mask, Probability
from plankseg.imaging.masks import dice, drop_small_parts, fill_holes, largest_component

FEWEST_TO_CHOOSE = 6
"""With fewer images nothing is chosen: the choice would follow one image."""


@dataclass(frozen=True)
class Postprocessing:
    """What is done to a mask, in this order. The default changes nothing."""

    fill_holes: bool = False
    smallest_part: float = 0.0
    """Parts below this share of the largest part's area are dropped."""
    largest_only: bool = False

    def __call__(self, mask: Mask) -> Mask:
        """The mask as it is shown, judged and kept."""
        if self.fill_holes:
            mask = fill_holes(mask)
        if self.largest_only:
            return largest_component(mask)
        return drop_small_parts(mask, self.smallest_part) if self.smallest_part else mask

    def mask_of(self, probability: Probability) -> Mask:
        """The mask of a map of probabilities: where they are at least one half, post-processed."""
        return self(np.asarray(probability >= 0.5))

    @classmethod
    def recorded(cls, metrics: Mapping[str, object]) -> "Postprocessing":
        """What was chosen for a model; none for a model that was trained before there was a choice."""
        kept = metrics.get("postprocessing")
        return cls(**kept) if isinstance(kept, dict) else PLAIN


PLAIN = Postprocessing()
CANDIDATES = tuple(
    Postprocessing(fill_holes=fill, smallest_part=share, largest_only=largest)
    for fill in (False, True)
    for share, largest in ((0.0, False), (0.05, False), (0.25, False), (0.0, True))
)


def choose_postprocessing(
    predicted: Sequence[Mask], truth: Sequence[Bool[np.ndarray, "rows columns"]]
) -> Postprocessing:
    """Of `CANDIDATES` the one with the best mean Dice, the plainest of equals; of fewer than six images always none.

    Raises MaskShapeError when two masks differ in size.
    """
    if len(predicted) < FEWEST_TO_CHOOSE:
        return PLAIN
    means = [
        float(np.mean([dice(candidate(mask), true) for mask, true in zip(predicted, truth, strict=True)]))
        for candidate in CANDIDATES
    ]
    return CANDIDATES[int(np.argmax(means))]
