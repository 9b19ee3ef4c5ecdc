"""How does a candidate of a comparison become model 0, and any other model the one at work?"""

from dataclasses import replace

from plankseg.rounds.promoting import find_model, promote
from plankseg.storage.models import ModelRow
from plankseg.storage.schemas import utc_now
from plankseg.storage.store import Store


def put_to_work(store: Store, words: str, *, reason: str) -> tuple[ModelRow, bool]:
    """Put the model that a person means to work; it, and False if it was at work already.

    A candidate becomes model 0 where there is none yet, so that `pretrain` finds its work done and the rounds go on
    with the candidate's recipe. Where there is one, the candidate is put to work in its place by a decision like any
    other, which can be taken back. Raises ModelError when no model or more than one is meant.
    """
    model = find_model(store, words)
    if model.candidate is not None:
        said = f"{reason}: {model.candidate}, experiment {model.experiment!r}"
        first = replace(model, candidate=None, promoted=True, reason=said, created_at=utc_now())
        if store.models.commit(first):
            return first, True
        reason = said
    return model, promote(store, model.model_id, by="person", reason=reason) is not None
