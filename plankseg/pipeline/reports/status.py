"""Status of a store derived from its tables: the object behind `plankseg status --json`."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from statistics import median

from pydantic import BaseModel, SerializerFunctionWrapHandler, model_serializer

from plankseg.config import RoundsConfig
from plankseg.pipeline.loop.effort import Anchoring, Effort, RoundEffort, anchoring_of, effort_of, plateau_reason
from plankseg.pipeline.loop.progress import describe, read_progress
from plankseg.pipeline.loop.second_opinions import agreements, describe_agreement
from plankseg.pipeline.models.recipes import recipe_in_force
from plankseg.pipeline.models.registry import Decision, decisions_of
from plankseg.pipeline.models.standings import Half, recorded_verdict, standings_of
from plankseg.pipeline.pool.near_duplicates import near_duplicate_ids
from plankseg.pipeline.pool.validation_split import halves
from plankseg.storage.store import Store
from plankseg.storage.tables.labels import LabelRow
from plankseg.storage.tables.models import ModelRow


class ImageCounts(BaseModel):
    """Images per role."""

    source: int
    pool: int
    validation: int


class ModelStatus(BaseModel):
    """One model: its training, its scores, whether it became the active one and why."""

    id: str
    round: int
    side_px: int
    epochs: int
    validation_dice: float | None
    validation_set: str | None
    test_dice: float | None
    promoted: bool
    reason: str
    active: bool


class StandingStatus(BaseModel):
    """One line of the table of model and conventional methods, on one half of the validation set."""

    half: str
    name: str
    images: int
    dice: float
    dice_off_outline: float | None
    tenth_percentile: float
    below_08: float


class RivalStatus(BaseModel):
    """The active model beside the conventional methods, and in words whether it is better."""

    standings: list[StandingStatus]
    verdict: str


class ValidationStatus(BaseModel):
    """The validation set: images with a usable mask in each half, and the near-duplicates of them that are kept out."""

    selection: int
    test: int
    near_duplicates: int


class DecisionStatus(BaseModel):
    """One decision on the active model; `low` and `high` bound the difference of Dice to the previous one."""

    round: int
    model: str
    kind: str
    by: str
    reason: str
    previous: str | None
    difference: float | None
    low: float | None
    high: float | None
    decided_at: datetime


class RoundStatus(BaseModel):
    """One round: the number of its images by answer. `redrawn` of `compared` images are those of `effort`."""

    round: int
    proposed: int
    answered: int
    accepted: int
    corrected: int
    drawn: int
    empty: int
    skipped: int
    unusable: int
    quarantined: int
    redrawn: int
    compared: int
    seconds: float | None
    model: str | None


ROUND_HEADINGS = {"quarantined": "set aside", "redrawn": "strongly changed"}
"""What columns of the table of rounds are called for people, where the field's name does not say it."""

RARE_ANSWERS = ("drawn", "empty", "skipped", "unusable", "quarantined")
"""Kinds of answers that a table of rounds shows only where there is one."""

ROUND_COLUMNS = ("round", "answered", "redrawn", "accepted", "corrected", *RARE_ANSWERS)
"""What matters most first: a page may show only some of them. Seconds stand in the table of effort."""

ANSWER_WORDS = {
    "drawn": "Drawn: there was no pre-mask.",
    "empty": "Empty: there is no object.",
    "skipped": "Skipped: left undecided.",
    "unusable": "Unusable: a bad image.",
    "quarantined": "Set aside: the answer cannot be used.",
}
"""What the rare kinds of answers mean."""

CHANGED_WORDS = (
    "Strongly changed, 17/18: of 18 masks that a person gave 17 have a Dice below 0.95 to the pre-mask (or below the "
    "limit in the settings), or were drawn because the model found nothing. Not among the 18: images that were picked "
    "at random or shown without a pre-mask on purpose; the table of effort has a row for them, if there are any."
)
"""Stands under the tables of rounds and of effort, once where both are on one page."""


class AgreementStatus(BaseModel):
    """How far two people agree on a round's images (Dice, mean and least); `asked` counts the newest round's alone."""

    round: int
    asked: int
    masked: int
    dice: float | None
    lowest: float | None
    words: str


class Status(BaseModel):
    """Images, models, decisions on them, rounds, the person's effort, and what is due next.

    `rivals` is there only where conventional methods were judged beside the active model, `not_used` only where answers
    are quarantined or images were left out: the reasons; `two_people` only where two are asked or answered;
    `at_work_since` only while a run holds the store.
    """

    store: str
    images: ImageCounts
    validation: ValidationStatus
    models: list[ModelStatus]
    decisions: list[DecisionStatus]
    rounds: list[RoundStatus]
    effort: list[RoundEffort]
    anchoring: Anchoring | None
    next: str
    rivals: RivalStatus | None = None
    not_used: list[str] = []
    two_people: list[AgreementStatus] = []
    at_work_since: datetime | None = None

    @model_serializer(mode="wrap")
    def _without_absent_rivals(self, handler: SerializerFunctionWrapHandler) -> dict[str, object]:
        found: dict[str, object] = handler(self)
        if self.rivals is None:
            del found["rivals"]
        for name in ("not_used", "two_people", "at_work_since"):
            if not found[name]:
                del found[name]
        return found


def round_words(rounds: Sequence[RoundStatus]) -> str:
    """What the columns of the table of rounds mean; kinds of answers that no round has are left out."""
    rare = [words for name, words in ANSWER_WORDS.items() if any(getattr(row, name) for row in rounds)]
    answered = "Answered: skipped and unusable images included."
    usual = "Pre-mask: the model's mask. Accepted: submitted unchanged. Corrected: changed."
    return " ".join([answered, usual, *rare, "No image is chosen in more than one round.", CHANGED_WORDS])


def rounds_table(rounds: Sequence[RoundStatus]) -> list[dict[str, object]]:
    """The rounds for people, by headings; kinds of answers that no round has are left out."""
    rows = [
        row.model_dump()
        | {"answered": f"{row.answered}/{row.proposed}", "redrawn": f"{row.redrawn}/{row.compared}"}
        | {"model": row.model[:8] if row.model else None}
        for row in rounds
    ]
    columns = [name for name in ROUND_COLUMNS if name not in RARE_ANSWERS or any(row[name] for row in rows)]
    return [{ROUND_HEADINGS.get(name, name): row[name] for name in columns} for row in rows]


def read_status(store: Store, rules: RoundsConfig) -> Status:
    """Derive the status from the tables."""
    efforts = effort_of(store, redrawn_below=rules.redrawn_below)
    shown = {round_effort.round: round_effort.shown for round_effort in efforts}
    models = store.models.all()
    by_round = {model.round: model for model in models}
    counts = store.catalogue.counts()
    active = store.models.active()
    return Status(
        store=str(store.root),
        images=ImageCounts.model_validate(counts),
        validation=_validation(store),
        models=[_model(model, active=active) for model in models],
        decisions=[_decision(decision) for decision in decisions_of(store)],
        rounds=[_round(store, n, model=by_round.get(n), shown=shown.get(n)) for n in sorted(store.proposals.rounds())],
        effort=efforts,
        anchoring=anchoring_of(store),
        next=describe(
            read_progress(store), budget=rules.budget, flat=plateau_reason(store, rules), replace=rules.replace_skipped
        ),
        rivals=_rivals(active) if active else None,
        not_used=_not_used(store),
        two_people=[
            AgreementStatus.model_validate(asdict(found) | {"words": describe_agreement(found)})
            for found in agreements(store, asked_twice=rules.asked_twice)
        ],
        at_work_since=store.held_since("advance"),
    )


def _model(row: ModelRow, *, active: ModelRow | None) -> ModelStatus:
    return ModelStatus(
        id=row.model_id,
        round=row.round,
        side_px=row.side_px,
        epochs=row.epochs,
        validation_dice=None if row.validation_dice is None else round(row.validation_dice, 4),
        validation_set=row.validation_set,
        test_dice=_test_dice(row),
        promoted=row.promoted,
        reason=row.reason,
        active=active is not None and row.model_id == active.model_id,
    )


def _test_dice(row: ModelRow) -> float | None:
    """The Dice on the half that chose nothing; None for models without one, those of an older plankseg too."""
    test = json.loads(row.metrics).get("test")
    return None if test is None else round(test["dice"], 4)


def _rivals(active: ModelRow) -> RivalStatus | None:
    """The active model and the conventional methods, on the half that chose and on the one that only tests."""
    metrics = json.loads(active.metrics)
    verdict = recorded_verdict(metrics)
    if verdict is None:
        return None
    both: tuple[Half, ...] = ("selection", "test")
    lines = [
        StandingStatus.model_validate({"half": half} | asdict(line))
        for half in both
        for line in standings_of(metrics, half, model=f"model {active.round}")
    ]
    return RivalStatus(standings=lines, verdict=f"Model {active.round} is {verdict.words()}.")


def _not_used(store: Store) -> list[str]:
    """The reasons of quarantined answers and of images that were left out, by round; round 0 is the validation set."""
    newest = max(store.proposals.rounds(), default=0)
    rows = [row for n in range(newest + 2) for row in store.labels.answered(n)]
    return list(dict.fromkeys(row.reason for row in rows if row.reason and row.status in ("quarantined", "skipped")))


def _validation(store: Store) -> ValidationStatus:
    split = halves(store)
    near = near_duplicate_ids(store, bits=recipe_in_force(store).validation.near_duplicate_bits)
    return ValidationStatus(selection=len(split.selection), test=len(split.test), near_duplicates=len(near))


def _decision(decision: Decision) -> DecisionStatus:
    compared = decision.comparison
    return DecisionStatus(
        round=decision.model.round,
        model=decision.model.model_id,
        kind=decision.kind,
        by=decision.by,
        reason=decision.reason,
        previous=decision.previous,
        difference=compared.difference if compared else None,
        low=compared.low if compared else None,
        high=compared.high if compared else None,
        decided_at=decision.decided_at,
    )


DECIDED = {"flow": "automatically", "person": "by a person"}
"""Who made a decision, for people."""

MODEL_WORDS = (
    "Each new model was put into use unless it was worse than the model then in use. Worse and better: the "
    "95 % confidence interval of the difference of Dice is below or above 0. Differences are taken before rounding."
)


def last_decision(status: Status) -> str:
    """The active model and the reason, as a sentence; empty before the first model."""
    active = next((model for model in status.models if model.active), None)
    if active is None:
        return ""
    last = status.decisions[-1]
    action = {"promote": "put into use", "refuse": "not put into use", "rollback": "put back into use"}[last.kind]
    told = ". Compared: " if last.by == "flow" and "Dice" in last.reason else ": "
    return (
        f"Model {active.round} ({active.id[:8]}) is in use. Last decision: model {last.round} {action} "
        f"{DECIDED[last.by]}{told}{last.reason}."
    )


def _round(store: Store, n: int, *, model: ModelRow | None, shown: Effort | None) -> RoundStatus:
    chosen = {row.image_id for row in store.proposals.asked(n)}
    answers = [row for row in store.labels.answered(n) if row.image_id in chosen]
    usable = [row for row in answers if row.status == "usable"]
    seconds = [row.seconds for row in answers if row.seconds is not None and row.status == "usable"]
    return RoundStatus(
        round=n,
        proposed=len(chosen),
        answered=len(answers),
        accepted=_count(usable, "accepted"),
        corrected=_count(usable, "corrected"),
        drawn=_count(usable, "drawn"),
        empty=_count(usable, "empty"),
        skipped=sum(row.status == "skipped" for row in answers),
        unusable=sum(row.status == "unusable" for row in answers),
        quarantined=sum(row.status == "quarantined" for row in answers),
        redrawn=shown.redrawn if shown else 0,
        compared=shown.images if shown else 0,
        seconds=round(median(seconds), 1) if seconds else None,
        model=model.model_id if model else None,
    )


def _count(rows: Sequence[LabelRow], origin: str) -> int:
    return sum(row.origin == origin for row in rows)
