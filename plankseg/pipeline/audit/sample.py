"""Random sample of masks, stratified by the Dice that the model expects of them.

The masks, by ascending expected Dice, are cut into as many equal slices as are to be drawn, and one is drawn from each,
on its own. So the sample holds the doubtful and the certain in their shares. Where a slice ends within a mask, both
slices may draw it: every mask is drawn equally often on average, and no weights are needed.
"""

from collections.abc import Sequence

import numpy as np

from plankseg.errors import EmptyPoolError


def draw_by_confidence(confidences: Sequence[float], wanted: int, rng: np.random.Generator) -> list[int]:
    """Positions of the drawn masks, by ascending confidence; some may be there twice. Of too few masks, each once.

    The draws are independent, and the mean of what they are expected to show is the mean over all masks.
    """
    if not len(confidences):
        raise EmptyPoolError("There is no mask to audit: run the flow 'segment' first.")
    order = np.argsort(np.asarray(confidences, float), kind="stable")
    if wanted >= len(order):
        return [int(position) for position in order]
    slice_length = len(order) / wanted
    positions = (np.arange(wanted) + rng.random(wanted)) * slice_length
    return [int(order[min(int(position), len(order) - 1)]) for position in positions]
