"""The model registry: the active model, promotions and rollbacks, and how a person names a model."""

import json
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from plankseg.errors import ModelError, SettingsError
from plankseg.storage.schemas import utc_now
from plankseg.storage.store import Store
from plankseg.storage.tables.models import ModelRow, line_of
from plankseg.storage.tables.promotions import By, PromotionRow

log = logging.getLogger(__name__)

WORSE = "worse than model"  # in the reason of a model that lost its comparison
FINAL = "final"  # the experiment under which the final model is recorded


ROUND = re.compile(r"(?:model |round )?(\d{1,4})")
PREFIX = re.compile(r"[0-9a-f]{6,64}")


@dataclass(frozen=True)
class PairedComparison:
    """How much better a model is than the one that was at work: mean difference of Dice with its 95 % bounds."""

    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class Decision:
    """A model was promoted, refused, or gone back to; `previous` was at work before."""

    model: ModelRow
    kind: Literal["promote", "refuse", "rollback"]
    by: By
    reason: str
    decided_at: datetime
    previous: str | None = None
    comparison: PairedComparison | None = None


def promote(
    store: Store, model_id: str, *, by: By, reason: str, comparison: PairedComparison | None = None
) -> PromotionRow | None:
    """Put a model to work, whether it was refused, compared or taken back; None and nothing done if it is at work.

    Raises ModelError for a model that the store does not have.
    """
    model = find_model(store, model_id)

    def plan(decisions: Sequence[PromotionRow]) -> PromotionRow | None:
        models = store.models.all()
        line = line_of(models, decisions)
        active = line[-1].model_id if line else None
        if active == model.model_id:
            return None
        return PromotionRow(
            model_id=model.model_id,
            kind="promote",
            by=by,
            reason=reason,
            number=len(decisions) + 1,
            after_round=_newest_round(models),
            previous=active,
            difference=comparison.difference if comparison else None,
            low=comparison.low if comparison else None,
            high=comparison.high if comparison else None,
        )

    return store.promotions.decide(plan)


def rollback(store: Store, *, by: By, reason: str) -> PromotionRow:
    """Take the model at work away; the one before it is at work again, and models trained later start from that one.

    Raises ModelError when there is none before it.
    """

    def plan(decisions: Sequence[PromotionRow]) -> PromotionRow:
        models = store.models.all()
        line = line_of(models, decisions)
        if len(line) < 2:
            why = f"model {line[0].round} is the only one that was ever put into use" if line else "no model is in use"
            raise ModelError(f"Nothing to go back to: {why}. `plankseg promote` puts another model to work.")
        return PromotionRow(
            model_id=line[-2].model_id,
            kind="rollback",
            by=by,
            reason=reason,
            number=len(decisions) + 1,
            after_round=_newest_round(models),
            previous=line[-1].model_id,
        )

    decided = store.promotions.decide(plan)
    assert decided is not None, "a rollback decides or raises"
    return decided


def find_model(store: Store, words: str) -> ModelRow:
    """The model that a person means: '3', 'model 3', 'round 3', the beginning of its id, or the name of a candidate.

    Raises ModelError when it is none or not clear; the message lists what there is.
    """
    name = " ".join(words.lower().split())
    models = store.models.all()
    candidates = store.models.candidates()
    if numbered := ROUND.fullmatch(name):
        found = store.models.of_round(int(numbered[1]))
        matches = [found] if found else []
    else:
        by_id = {row.model_id: row for row in (*candidates, *models)}  # a candidate that became model 0 is model 0
        meant = (row.model_id for row in (*candidates, *models) if _is_called(row, name))
        matches = [by_id[model_id] for model_id in dict.fromkeys(meant)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        listed = ", ".join(f"{row.model_id[:12]} ({row.experiment or f'round {row.round}'})" for row in matches)
        raise ModelError(f"{len(matches)} models are meant by {words!r}: {listed}. Give more letters of the id.")
    listed = ", ".join(f"{row.round} ({row.model_id[:8]})" for row in models) or "none: run the flow 'pretrain'"
    if candidates:
        last = candidates[-1]
        listed += f"; {len(candidates)} candidates, the last one {last.candidate!r} ({last.model_id[:8]})"
    raise ModelError(f"No model is called {words!r}; give a round or six or more letters of an id. There are {listed}.")


def _is_called(row: ModelRow, name: str) -> bool:
    begins = PREFIX.fullmatch(name) is not None and row.model_id.startswith(name)
    return begins or (row.candidate is not None and row.candidate.lower() == name)


def decisions_of(store: Store) -> list[Decision]:
    """Every decision, oldest first: the flow's own when a model was trained, and those that were made later."""
    models = store.models.all()
    by_id = {row.model_id: row for row in models}
    born = [row for row in models if row.candidate is None]
    first: list[tuple[tuple[int, int], Decision]] = [((row.round, 0), _at_birth(row)) for row in born]
    later = [((row.after_round, row.number), _later(row, by_id[row.model_id])) for row in store.promotions.all()]
    return [decision for _, decision in sorted(first + later, key=lambda one: one[0])]


def _newest_round(models: Sequence[ModelRow]) -> int:
    return max((row.round for row in models), default=0)


def _at_birth(row: ModelRow) -> Decision:
    compared = json.loads(row.metrics).get("compared")
    return Decision(
        model=row,
        kind="promote" if row.promoted else "refuse",
        by="flow" if row.experiment is None else "person",  # who made a candidate model 0
        reason=row.reason,
        decided_at=row.created_at,
        previous=row.parent,
        comparison=PairedComparison(**compared) if compared else None,
    )


def _later(row: PromotionRow, model: ModelRow) -> Decision:
    comparison = None
    if row.difference is not None and row.low is not None and row.high is not None:
        comparison = PairedComparison(row.difference, row.low, row.high)
    return Decision(model, row.kind, row.by, row.reason, row.decided_at, row.previous, comparison)


def model_for(store: Store, id_prefix: str | None = None) -> ModelRow:
    """The model that an archive is segmented with: the final one, or the active one where rounds were trained since.

    A final model that was judged worse than the active one is passed over with a warning, unless it is named.
    `id_prefix` names another by the first characters of its id. Raises SettingsError for no such model, or several.
    """
    finals, active = store.models.candidates(FINAL), store.models.active()
    if id_prefix:
        every = {row.model_id: row for row in (*store.models.candidates(), *store.models.all())}
        matches = [row for model_id, row in every.items() if model_id.startswith(id_prefix.strip().lower())]
        if len(matches) != 1:
            available = ", ".join(model_id[:8] for model_id in every) or "no model at all: train one first"
            raise SettingsError(
                f"{len(matches)} models have an id that begins with {id_prefix!r}; there is {available}."
            )
        return matches[0]
    if finals and (active is None or finals[-1].round >= active.round):
        if active is None or not judged_worse(finals[-1]):
            return finals[-1]
        log.warning(
            "The final model %s was judged worse (%s): model %d is used. Name the final one to use it all the same.",
            finals[-1].model_id[:8],
            finals[-1].reason,
            active.round,
        )
    if active is None:
        raise SettingsError("There is no model yet; run the flow 'pretrain' first.")
    return active


def judged_worse(model: ModelRow) -> bool:
    """Whether a model was clearly worse than the active one when it was trained, by its recorded reason."""
    return WORSE in model.reason


def activate(store: Store, words: str, *, reason: str) -> tuple[ModelRow, bool]:
    """Put the model that a person means to work; it, and False if it was at work already.

    A candidate becomes model 0 where there is none yet, so that `pretrain` finds its work done and the rounds go on
    with the candidate's recipe. Where there is one, the candidate is put to work in its place by a decision like any
    other, which can be taken back. Raises ModelError when no model or more than one is meant.
    """
    model = find_model(store, words)
    if model.candidate is not None:
        promotion_reason = f"{reason}: {model.candidate}, experiment {model.experiment!r}"
        first = replace(model, candidate=None, promoted=True, reason=promotion_reason, created_at=utc_now())
        if store.models.commit(first):
            return first, True
        reason = promotion_reason
    return model, promote(store, model.model_id, by="person", reason=reason) is not None
