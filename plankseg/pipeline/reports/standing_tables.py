"""Tables and the sentence that set models beside the conventional methods, from the status of a store."""

import re
from dataclasses import dataclass

from plankseg.pipeline.models.standings import HALVES
from plankseg.pipeline.reports.status import Status, last_decision

STANDING_COLUMNS = ("half", "masks by", "images", "Dice", "off edge", "9 of 10 above", "below 0.8")
STANDING_WORDS = (
    "Half of the validation images decide which epoch and which model are used (deciding); the Dice on the other half "
    "is only reported (test). Automatic mask: what ingest makes, at one grey level found for each image, or at the "
    "local contrast. Fixed threshold: one grey level for all images. Images: those that got a mask. Dice: how well "
    "masks agree with a person's, from 0 to 1 (the same), on average. Off edge: the Dice without the pixels up to 2 px "
    "from the person's outline. 9 of 10 above: nine images of ten have a higher Dice than this. Below 0.8: the share "
    "of images with a Dice below 0.8."
)


@dataclass(frozen=True)
class RivalLine:
    """A conventional method as a line below the models: its Dice on both halves of the validation set, where judged."""

    name: str
    selection_dice: float | None
    test_dice: float | None
    masked: int
    images: int

    def words(self) -> str:
        """For how many of the validation images it gave a mask: its Dice is of those alone."""
        return f"no model; masks for {self.masked} of {self.images} images"


def rival_lines(found: Status) -> list[RivalLine]:
    """The conventional methods, as they were judged beside the active model; none where none was."""
    standings = found.rivals.standings if found.rivals else []
    model = next((line.name for line in standings), "")
    images = sum(line.images for line in standings if line.name == model)
    names = dict.fromkeys(line.name for line in standings if line.name != model)
    of_name = {name: {line.half: line for line in standings if line.name == name} for name in names}
    return [
        RivalLine(
            name=name,
            selection_dice=halves["selection"].dice if "selection" in halves else None,
            test_dice=halves["test"].dice if "test" in halves else None,
            masked=sum(line.images for line in halves.values()),
            images=images,
        )
        for name, halves in of_name.items()
    ]


def rival_sentence(found: Status) -> str:
    """Whether the active model is better than a method that costs nobody's time; empty where there is no model."""
    if found.rivals is not None:
        return found.rivals.verdict
    if not any(model.active for model in found.models):
        return ""
    if masked := found.validation.selection + found.validation.test:
        return (
            "The model in use was not compared with a conventional method when it was trained; the next one will be, "
            f"on the {masked} validation images that have a mask."
        )
    return (
        "The model in use was not compared with a conventional method: that needs validation images whose masks a "
        "person made. Run the flow 'annotate_validation', then train."
    )


FIGURES = re.compile(r"Dice [\d.]+ against [\d.]+ on the \d+ images")


def verdict_unless_told(found: Status) -> str:
    """The `rival_sentence`; empty where the last decision on the model in use has told it."""
    sentence = rival_sentence(found)
    figures = FIGURES.search(sentence)  # the words around them were others in an earlier plankseg
    return "" if figures and figures[0] in last_decision(found) else sentence


def standing_rows(found: Status) -> list[tuple[str, ...]]:
    """The cells under `STANDING_COLUMNS`; none where no conventional method was judged."""
    return [
        (
            HALVES[line.half],
            line.name,
            str(line.images),
            f"{line.dice:.3f}",
            "" if line.dice_off_outline is None else f"{line.dice_off_outline:.3f}",
            f"{line.tenth_percentile:.3f}",
            f"{100 * line.below_08:.0f} %",
        )
        for line in (found.rivals.standings if found.rivals else [])
    ]
