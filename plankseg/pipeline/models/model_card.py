"""Model card: what a model was trained on, how good it was found to be, and what it is not good for, in Markdown."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from plankseg.pipeline.models.standings import HALVES

if TYPE_CHECKING:  # loads torch, which a page that quotes the limits must not
    from plankseg.pipeline.models.model_facts import ModelFacts, StandingFacts

_UNKNOWN = "not recorded"


def model_card(facts: "ModelFacts") -> str:
    """The card of a model, from its facts alone."""
    sections = (
        ("", _header(facts)),
        ("Data", _data(facts)),
        ("How good it is", _quality(facts)),
        ("Limits", [f"- {limit}" for limit in limits(facts.side_px)]),
        ("Licences", [f"- {name}: {text}" for name, text in facts.licences.model_dump().items()]),
        ("Use", _use(facts)),
    )
    parts = [f"## {title}\n\n" + "\n".join(lines) if title else "\n".join(lines) for title, lines in sections]
    return "\n\n".join(parts) + "\n"


def _header(facts: "ModelFacts") -> list[str]:
    network, training = facts.recipe.network, facts.training
    return [
        f"# Model {facts.model_id[:12]}: masks of single plankton images",
        "",
        f"{network.architecture} with encoder {network.encoder}, squares of {facts.side_px} px, one class: the object. "
        f"Trained by plankseg in round {training.round}, {training.epochs} epochs, {training.trained_at}.",
        "",
        f"`model_id` (sha256 of `model.safetensors`): `{facts.model_id}`",
    ]


def _data(facts: "ModelFacts") -> list[str]:
    training = facts.training
    return [
        f"- training images: {_known(training.training_images)}, of which answered by a person: "
        f"{_known(training.corrections)}; the others have automatic masks",
        f"- rounds of correction: {training.round}; model before: {training.parent or 'none'}",
        f"- validation: {_known(training.validation_set)}",
    ]


def dice_words(dice: float | None, interval: Sequence[float] | None) -> str:
    """A Dice with three digits, and its 95 % interval where one was recorded; empty where there is no Dice."""
    if dice is None:
        return ""
    return f"{dice:.3f}" + (f" (95 % confidence interval {interval[0]:.3f} to {interval[1]:.3f})" if interval else "")


def _quality(facts: "ModelFacts") -> list[str]:
    training = facts.training
    dice = dice_words(training.validation_dice, training.validation_interval) or _UNKNOWN
    lines = [f"Dice: {dice}, on the {training.validation_set or 'validation images'}."]
    if training.standings:
        lines += ["", "| images of | masks by | images | Dice | 9 of 10 above | share below 0.8 |"]
        lines += ["|---|---|---|---|---|---|", *map(_standing, training.standings)]
    if training.against_rival:
        lines += ["", f"Compared with masks that need no model, it is {training.against_rival}."]
    else:
        lines += ["", "It was not compared with a conventional method."]
    return lines


def _standing(row: "StandingFacts") -> str:
    return (
        f"| {HALVES[row.half]} half | {row.masks_by} | {row.images} | {row.dice:.3f} | {row.tenth_percentile:.3f} "
        f"| {row.share_below_08:.0%} |"
    )


def limits(side_px: int) -> list[str]:
    """What a model that sees squares of this side is not good for, one sentence or two each."""
    return [
        "Made for one object per image: several animals in one image may become one mask.",
        "Measured on images like those of its validation set only. Instruments, nets, seas and sizes that are not "
        "among them were not tried.",
        f"The network sees {side_px} px: in larger images, hairs and antennae thinner than one pixel at that size "
        "are lost.",
        "In tables of measurements the column `expected_dice` is what the model itself expects. It ranks masks; it "
        "promises nothing.",
    ]


def _use(facts: "ModelFacts") -> list[str]:
    views = facts.recipe.query.views
    return [
        "```",
        "plankseg predict IMAGES --model THIS_FOLDER --out MASKS",
        "```",
        "",
        "`model.json` says how an image becomes the network's input and its answer a mask, for other programs. "
        f"plankseg averages the model's `{views}` views of an image (as it is, mirrored, turned); one view gives "
        "nearly the same masks, faster.",
    ]


def _known(value: object) -> str:
    return _UNKNOWN if value is None else str(value)
