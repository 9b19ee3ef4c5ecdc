"""Post-processing of a model's masks: where the probability is cut, holes, small parts, outline, the automatic mask.

All of it is chosen once for a model, on images whose masks are known, and then done alike wherever its masks are made.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from plankseg.imaging.arrays import Grey, Mask, Probability
from plankseg.imaging.masks import dice, drop_small_parts, fill_holes, largest_component
from plankseg.imaging.outline_refinement import refine_outline
from plankseg.imaging.threshold import automatic_mask

FEWEST_TO_CHOOSE = 6
"""With fewer images nothing is chosen: the choice would follow one image."""


@dataclass(frozen=True)
class Postprocessing:
    """What is done to a map of probabilities, in this order. The default cuts it at one half."""

    fill_holes: bool = False
    smallest_part: float = 0.0
    """Parts below this share of the largest part's area are dropped."""
    largest_only: bool = False
    cut: float = 0.5
    """Pixels of at least this probability are object."""
    automatic_above: float | None = None
    """Where the automatic mask of the image has at least this Dice to the model's, it is taken: both mean the same
    object, and the outline of a threshold is the sharper one. None: never."""
    outline_reach_px: int = 0
    """Pixels within this distance of the outline are decided by their grey (`refine_outline`); 0: none are."""
    outline_share: float = 0.25
    """Of the local contrast: where the outline is drawn then."""

    def __call__(self, mask: Mask) -> Mask:
        """The mask with its holes and parts as they are shown, judged and kept."""
        if self.fill_holes:
            mask = fill_holes(mask)
        if self.largest_only:
            return largest_component(mask)
        return drop_small_parts(mask, self.smallest_part) if self.smallest_part else mask

    @property
    def uses_image(self) -> bool:
        """Whether the mask depends on the image beside the probability."""
        return self.automatic_above is not None or self.outline_reach_px > 0

    def mask_of(self, probability: Probability, grey: Grey | None = None) -> Mask:
        """The mask of a map of probabilities over an image, which is needed where `uses_image` says so."""
        mask = self(np.asarray(probability >= self.cut))
        if not self.uses_image:
            return mask
        assert grey is not None, "this post-processing looks at the image"
        mask = self._refined(mask, grey)
        return mask if self.automatic_above is None else self._or_automatic(mask, _automatic(grey))

    def _refined(self, mask: Mask, grey: Grey) -> Mask:
        if not self.outline_reach_px:
            return mask
        return self(refine_outline(mask, grey, reach_px=self.outline_reach_px, share=self.outline_share))

    def _or_automatic(self, mask: Mask, automatic: Mask | None) -> Mask:
        if automatic is None or self.automatic_above is None or dice(mask, automatic) < self.automatic_above:
            return mask
        return automatic

    @classmethod
    def recorded(cls, metrics: Mapping[str, object]) -> "Postprocessing":
        """What was chosen for a model; none for a model that was trained before there was a choice."""
        kept = metrics.get("postprocessing")
        return cls(**kept) if isinstance(kept, dict) else PLAIN


PLAIN = Postprocessing()
CUTS = (0.5, 0.4, 0.6, 0.3, 0.7)
AGREEMENTS = (None, 0.95, 0.9, 0.8, 0.7, 0.5)
OUTLINES = ((0, 0.25), (2, 0.25), (2, 0.4), (3, 0.25), (3, 0.4), (4, 0.25), (4, 0.4), (6, 0.25))
"""Reach in pixels and share of the local contrast. A scanner's blur is 4 to 6 px wide."""
CANDIDATES = tuple(
    Postprocessing(fill_holes=fill, smallest_part=share, largest_only=largest, cut=cut)
    for cut in CUTS
    for fill in (False, True)
    for share, largest in ((0.0, False), (0.05, False), (0.25, False), (0.0, True))
)


def choose_postprocessing(
    probabilities: Sequence[Float[np.ndarray, "rows columns"]],
    greys: Sequence[Grey] | None,
    truth: Sequence[Bool[np.ndarray, "rows columns"]],
) -> Postprocessing:
    """Of `CANDIDATES` the one with the best mean Dice, then how its outline is refined and the automatic mask taken.

    `greys` is None where the truth was made by a threshold itself: then neither looks at the image. Of equals the
    plainest is chosen, of fewer than six images always none. Raises MaskShapeError when masks differ in size.
    """
    if len(probabilities) < FEWEST_TO_CHOOSE:
        return PLAIN

    def mean_dice(masks: Sequence[Mask]) -> float:
        return float(np.mean([dice(mask, true) for mask, true in zip(masks, truth, strict=True)]))

    shaped = [[candidate(np.asarray(p >= candidate.cut)) for p in probabilities] for candidate in CANDIDATES]
    best = int(np.argmax([mean_dice(masks) for masks in shaped]))
    if greys is None:
        return CANDIDATES[best]
    automatic = [_automatic(grey) for grey in greys]
    found, best_mean = CANDIDATES[best], -1.0
    for reach, share in OUTLINES:
        outlined = replace(CANDIDATES[best], outline_reach_px=reach, outline_share=share)
        masks = [outlined._refined(mask, grey) for mask, grey in zip(shaped[best], greys, strict=True)]
        for agreement in AGREEMENTS:
            choice = replace(outlined, automatic_above=agreement)
            mean = mean_dice([choice._or_automatic(*pair) for pair in zip(masks, automatic, strict=True)])
            if mean > best_mean:
                found, best_mean = choice, mean
    return found


def _automatic(grey: Grey) -> Mask | None:
    return automatic_mask(grey, outline="local contrast").mask
