"""A simulated annotator, who knows the true masks and answers through the same interface as a person."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any

import numpy as np

from plankseg.errors import SettingsError
from plankseg.imaging.arrays import Mask
from plankseg.imaging.masks import changed_pixels, dice
from plankseg.labelling.api.protocol import LabelStudio
from plankseg.labelling.api.regions import CLICKS, read_mask
from plankseg.labelling.api.tasks import Task, premask_regions, unusable_choice
from plankseg.labelling.sync.deduplicate import deduplicate_tasks

QUICK_ANSWER_S = (2.0, 6.0)  # to accept, to skip or to call unusable
CLICK_S = 3.0  # to look, and to click
REDRAW_S = (25.0, 60.0)  # from a few wrong pixels to the whole object


IN_WORDS = {"redrawn": "corrected", "clicked": "corrected by clicks", "left_alone": "left alone"}
"""What was done with a task, as the tables for people call it."""


@dataclass(frozen=True)
class AnswerCounts:
    """Number of tasks by what was done with them; `left_alone` had an answer before."""

    accepted: int = 0
    redrawn: int = 0
    clicked: int = 0
    skipped: int = 0
    unusable: int = 0
    left_alone: int = 0

    def __str__(self) -> str:
        """The numbers that are not zero, in words: '1 accepted, 17 corrected'."""
        counts = [f"{count} {IN_WORDS.get(deed, deed)}" for deed, count in asdict(self).items() if count]
        return ", ".join(counts) or "nothing was open"


@dataclass(frozen=True)
class SimulatedAnnotator:
    """Accepts a pre-mask at Dice >= `accept_dice`, otherwise redraws it; skips or calls unusable a random share.

    With `by_clicks` a mask is repaired by clicks where these bring it to `accept_dice`, and redrawn where they do not.

    `truth` gives the mask of an image id at its own size. The answer to an image depends on (seed, image id) alone.
    """

    truth: Callable[[str], Mask]
    accept_dice: float = 0.95
    skip_rate: float = 0.05
    unusable_rate: float = 0.05
    seed: int = 0
    by_clicks: Callable[[str, Mask, Mask], tuple[Mask, int]] | None = None
    """Repairs by clicks: from an image id, its pre-mask and its truth to a mask, and how many clicks that took."""

    def __post_init__(self) -> None:
        if min(self.skip_rate, self.unusable_rate) < 0 or self.skip_rate + self.unusable_rate > 1:
            raise SettingsError(
                f"skip_rate {self.skip_rate} and unusable_rate {self.unusable_rate} are no shares of one whole."
            )

    def answer_round(self, label_studio: LabelStudio, project: int, round: int) -> AnswerCounts:
        """Answer every task of a round that has no answer yet."""
        counts = dict.fromkeys(AnswerCounts.__dataclass_fields__, 0)
        for image_id, task in deduplicate_tasks(label_studio.list_tasks(project, round), round=round).kept.items():
            counts["left_alone" if task["annotations"] else self._answer(label_studio, image_id, task)] += 1
        return AnswerCounts(**counts)

    def _answer(self, label_studio: LabelStudio, image_id: str, task: Task) -> str:
        """Answer one task. Returns the field of `AnswerCounts` that it counts for."""
        digest = sha256(image_id.encode()).digest()
        rng = np.random.default_rng([self.seed, int.from_bytes(digest[:8], "big")])
        chance, quick_s = rng.random(), rng.uniform(*QUICK_ANSWER_S)
        prediction: dict[str, Any] = task["predictions"][0] if task["predictions"] else {"id": None, "result": []}
        shown, parent = prediction["result"], prediction["id"]

        def send(result: list[Task], seconds: float, *, was_cancelled: bool = False) -> None:
            lead_time = round(seconds, 1)
            label_studio.create_annotation(
                task["id"], result, lead_time=lead_time, was_cancelled=was_cancelled, parent_prediction=parent
            )

        if chance < self.skip_rate:
            send(shown, quick_s, was_cancelled=True)
            return "skipped"
        if chance < self.skip_rate + self.unusable_rate:
            send([*shown, unusable_choice()], quick_s)
            return "unusable"
        truth = self.truth(image_id)
        premask = read_mask(shown, shape=(truth.shape[0], truth.shape[1]))
        assert premask is not None, "a prediction of ours holds no choice"
        if task["predictions"] and dice(premask, truth) >= self.accept_dice:
            send([{**region, "origin": "prediction"} for region in shown], quick_s)
            return "accepted"
        if self.by_clicks is not None:
            mask, clicks = self.by_clicks(image_id, premask, truth)
            if dice(mask, truth) >= self.accept_dice:
                regions = premask_regions(mask, origin="manual")
                send([{**region, "meta": {CLICKS: clicks}} for region in regions], quick_s + clicks * CLICK_S)
                return "clicked"
        send(premask_regions(truth, origin="manual") if truth.any() else [], _redraw_seconds(premask, truth))
        return "redrawn"


def _redraw_seconds(premask: Mask, truth: Mask) -> float:
    """Seconds that grow with the share of the object that is wrong."""
    low, high = REDRAW_S
    wrong = changed_pixels(premask, truth) / max(int(np.count_nonzero(premask | truth)), 1)
    return low + (high - low) * min(wrong, 1.0)
