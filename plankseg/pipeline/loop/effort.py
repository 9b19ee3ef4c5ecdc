"""The effort of each round for the person, and whether it still falls."""

from collections.abc import Sequence
from statistics import fmean, median

import numpy as np
from pydantic import BaseModel

from plankseg.config import RoundsConfig
from plankseg.pipeline.models.standings import validation_words
from plankseg.storage.store import Store
from plankseg.storage.tables.labels import LabelRow
from plankseg.storage.tables.proposals import ProposalRow

DRAWS = 2000


class Effort(BaseModel):
    """What a group of usable answers cost: `redrawn` of `images` were drawn anew, Dice and pixels are against the
    pre-mask, whether it was shown or not. `clicks` (boxes too) and `outlines` are sums; None where nobody counted."""

    images: int
    redrawn: int
    dice: float | None
    changed_px_median: float | None
    changed_px_sum: int
    seconds_median: float | None
    clicks: int | None = None
    outlines: int | None = None


class RoundEffort(BaseModel):
    """One round: the images that teach most, with their pre-masks; apart from them those asked without one (`blind`)
    and those drawn at random (`control`). `seconds_saved` is against the time per image of round 1.

    `clicked` and `brushed` are the corrected masks of `shown` made with the assistant and without; both are None
    unless the round has some of each.
    """

    round: int
    shown: Effort
    seconds_saved: float | None
    blind: Effort | None
    control: Effort | None
    clicked: Effort | None = None
    brushed: Effort | None = None


class Anchoring(BaseModel):
    """How much nearer to the pre-mask answers are where it was shown: difference of the mean Dice, with 95 % bounds."""

    shown: int
    blind: int
    difference: float
    low: float
    high: float


def was_redrawn(row: LabelRow, *, below: float) -> bool:
    """True if the person had to draw the mask anew: there was no pre-mask, or the answer is far from it."""
    return row.dice_to_premask is None or row.dice_to_premask < below


def effort_of(store: Store, *, redrawn_below: float) -> list[RoundEffort]:
    """The effort of every round that has a usable answer, by round."""
    efforts: list[RoundEffort] = []
    first_seconds: float | None = None
    for n in store.proposals.rounds():
        groups = _groups(store, n)
        if not any(groups.values()):
            continue
        shown, blind, control = (_effort(groups[name], redrawn_below) for name in ("shown", "blind", "control"))
        if n == 1:
            first_seconds = shown.seconds_median
        saved = None
        if first_seconds is not None and shown.seconds_median is not None:
            saved = round((first_seconds - shown.seconds_median) * shown.images, 1)
        efforts.append(
            RoundEffort(
                round=n,
                shown=shown,
                seconds_saved=saved,
                blind=blind if groups["blind"] else None,
                control=control if groups["control"] else None,
                **_with_and_without_clicks(groups["shown"], redrawn_below),
            )
        )
    return efforts


def anchoring_of(store: Store) -> Anchoring | None:
    """The effect of showing the pre-mask, over all rounds with blind images; None without blind images."""
    shown, blind = list[float](), list[float]()
    for n in store.proposals.rounds():
        groups = _groups(store, n)
        if groups["blind"]:  # only within the same rounds are the two alike but for the pre-mask
            shown += _dices(groups["shown"])
            blind += _dices(groups["blind"])
    if not shown or not blind:
        return None
    rng = np.random.default_rng(0)
    drawn = [_redrawn_mean(shown, rng) - _redrawn_mean(blind, rng) for _ in range(DRAWS)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    difference = fmean(shown) - fmean(blind)
    return Anchoring(
        shown=len(shown), blind=len(blind), difference=round(difference, 4), low=round(low, 4), high=round(high, 4)
    )


def plateau_reason(store: Store, rules: RoundsConfig) -> str:
    """Why going on seems to bring nothing: effort and Dice were both flat over the last rounds; empty if they were not.

    Flat means: nowhere in these rounds was it better than at their beginning by more than the recipe's tolerance.
    Rounds whose models were measured on different images cannot be compared, so they are not flat.
    """
    models = {row.round: row for row in store.models.all()}
    rounds = [n for n in store.proposals.rounds() if n in models][-rules.flat_rounds :]
    if not rules.stop_when_flat or len(rounds) < rules.flat_rounds:
        return ""
    efforts = {effort.round: effort.shown for effort in effort_of(store, redrawn_below=rules.redrawn_below)}
    shares = [efforts[n].redrawn / efforts[n].images for n in rounds if n in efforts and efforts[n].images]
    dices = [dice for n in rounds if (dice := models[n].validation_dice) is not None]
    judged_on = {validation_words(models[n].validation_set or "") for n in rounds}
    comparable = len(judged_on) == 1 and len(dices) == len(shares) == len(rounds)
    if not comparable:
        return ""
    if shares[0] - min(shares) > rules.flat_effort or max(dices) - dices[0] > rules.flat_dice:
        return ""
    redrawn = ", ".join(f"{efforts[n].redrawn}/{efforts[n].images}" for n in rounds)
    measured = ", ".join(f"{dice:.3f}" for dice in dices)
    return (
        f"rounds {rounds[0]} to {rounds[-1]} brought neither less effort (masks strongly changed: {redrawn}) nor a "
        f"better Dice ({measured})"
    )


def _groups(store: Store, round_number: int) -> dict[str, list[LabelRow]]:
    """The usable answers of a round by how their images were asked for."""
    groups: dict[str, list[LabelRow]] = {"shown": [], "blind": [], "control": []}
    proposed = {row.image_id: row for row in store.proposals.asked(round_number)}
    for answer in store.labels.answered(round_number):
        if answer.status == "usable" and answer.image_id in proposed:
            groups[_group(proposed[answer.image_id])].append(answer)
    return groups


def _with_and_without_clicks(answers: Sequence[LabelRow], redrawn_below: float) -> dict[str, Effort]:
    """The effort of corrected masks of one round, made with clicks and without, where there are some of each."""
    corrected = [row for row in answers if row.origin != "accepted" and row.clicks is not None]
    clicked, brushed = ([row for row in corrected if bool(row.clicks) is used] for used in (True, False))
    if not clicked or not brushed:
        return {}
    return {"clicked": _effort(clicked, redrawn_below), "brushed": _effort(brushed, redrawn_below)}


def _group(row: ProposalRow) -> str:
    if row.control:
        return "control"
    return "blind" if row.blind else "shown"


def _effort(answers: Sequence[LabelRow], redrawn_below: float) -> Effort:
    dices = _dices(answers)
    changed = [row.changed_px for row in answers if row.changed_px is not None]
    seconds = [row.seconds for row in answers if row.seconds is not None]
    clicks = [row.clicks for row in answers if row.clicks is not None]
    outlines = [row.outlines for row in answers if row.outlines is not None]
    return Effort(
        images=len(answers),
        redrawn=sum(was_redrawn(row, below=redrawn_below) for row in answers),
        dice=round(fmean(dices), 4) if dices else None,
        changed_px_median=median(changed) if changed else None,
        changed_px_sum=sum(changed),
        seconds_median=round(median(seconds), 1) if seconds else None,
        clicks=sum(clicks) if clicks else None,
        outlines=sum(outlines) if outlines else None,
    )


def _dices(answers: Sequence[LabelRow]) -> list[float]:
    return [row.dice_to_premask for row in answers if row.dice_to_premask is not None]


def _redrawn_mean(values: Sequence[float], rng: np.random.Generator) -> float:
    return float(np.mean(rng.choice(values, size=len(values))))
