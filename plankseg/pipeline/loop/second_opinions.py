"""Images of a round that are asked of two people, and how far people agree."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from plankseg.pipeline.loop.annotators import double_answers
from plankseg.stable_hash import stable_hash
from plankseg.storage.store import Store

PEOPLE = 2
"""Who answer an image that is asked twice."""


def asked_of_two(image_ids: Sequence[str], share: float) -> frozenset[str]:
    """The given share (0 to 1) of these images, at least one where it is above 0.

    They are drawn at random, by their ids alone, so that agreement on them holds for the whole round and a second push
    draws the same.
    """
    if not share:
        return frozenset()
    drawn = sorted(image_ids, key=lambda image_id: (stable_hash("asked of two", image_id), image_id))
    return frozenset(drawn[: max(1, round(share * len(drawn)))])


@dataclass(frozen=True)
class Agreement:
    """How far people agree on a round: images asked of two, images that two masked, and Dice of their masks.

    `dice` is the mean and `lowest` the least of all pairs; None while no image has two people's masks.
    """

    round: int
    asked: int
    masked: int
    dice: float | None = None
    lowest: float | None = None


def agreements(store: Store, *, asked_twice: float) -> list[Agreement]:
    """The agreement on each round in which two people masked an image, or are asked about one in the newest round."""
    rounds = store.proposals.rounds()
    found = (_agreement_on(store, n, asked_twice=asked_twice if n == rounds[-1] else 0.0) for n in rounds)
    return [agreement for agreement in found if agreement is not None]


def _agreement_on(store: Store, round_number: int, *, asked_twice: float) -> Agreement | None:
    asked = asked_of_two([row.image_id for row in store.proposals.asked(round_number)], asked_twice)
    pairs = double_answers(store, round_number)
    if not pairs:
        return Agreement(round_number, len(asked), 0) if asked else None
    dices = [pair.dice for pair in pairs]
    images = {pair.image_id for pair in pairs}
    return Agreement(round_number, len(asked), len(images), round(fmean(dices), 4), round(min(dices), 4))


def describe_agreement(agreement: Agreement) -> str:
    """The agreement as a sentence."""
    asked = f"{_images(agreement.asked)} asked of two people, " if agreement.asked else ""
    if agreement.dice is None or agreement.lowest is None:
        return f"Round {agreement.round}: {asked}none masked by two so far."
    return (
        f"Round {agreement.round}: {asked}{_images(agreement.masked)} masked by two; their masks agree to Dice "
        f"{agreement.dice:.3f}, at worst {agreement.lowest:.3f}."
    )


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"
