"""Progress of the active-learning loop and its next step, derived from the tables."""

from dataclasses import dataclass
from typing import Literal

from plankseg.errors import SettingsError
from plankseg.pipeline.pool.candidates import choosable
from plankseg.storage.store import Store

Step = Literal["ingest", "pretrain", "propose", "replace", "annotate", "retrain", "wait", "finished"]


@dataclass(frozen=True)
class Progress:
    """What the tables say.

    `round` is the last one that was proposed (0 before the first). `chosen` are its images in the order they were
    proposed, without those that were removed, or cannot be read, before anybody answered them. `answered` are those of
    them that a person dealt with in any way, `skipped` those of these that were skipped and have no replacement.
    `models` are the rounds that have a model, `unreadable` counts the images that were left out for that reason.
    """

    source: int
    pool_left: int
    active_model: str | None
    round: int
    chosen: tuple[str, ...]
    answered: frozenset[str]
    models: frozenset[int]
    skipped: frozenset[str] = frozenset()
    unreadable: int = 0

    @property
    def trained(self) -> bool:
        """True once the current round's model exists."""
        return self.round in self.models

    @property
    def unanswered(self) -> int:
        """Images of the current round that nobody dealt with yet."""
        return len(self.chosen) - len(self.answered)


def read_progress(store: Store) -> Progress:
    """Read the tables and say where the loop stands."""
    rounds = store.proposals.rounds()
    current = max(rounds, default=0)
    proposed = store.proposals.asked(current) if current else []
    answers = {row.image_id: row.status for row in store.labels.answered(current)} if current else {}
    excluded = store.exclusions.current()
    chosen = tuple(row.image_id for row in proposed if row.image_id in answers or row.image_id not in excluded)
    replaced = {row.replaces for row in proposed}
    active = store.models.active()
    return Progress(
        source=store.catalogue.counts()["source"],
        pool_left=len(choosable(store)),
        active_model=active.model_id if active else None,
        round=current,
        chosen=chosen,
        answered=frozenset(answers) & set(chosen),
        models=frozenset(model.round for model in store.models.all()),
        skipped=frozenset(i for i in chosen if answers.get(i) == "skipped" and i not in replaced),
        unreadable=sum(row.kind == "unreadable" for row in excluded.values()),
    )


def due(progress: Progress, *, budget: int, flat: str = "", replace: bool = False) -> Step:
    """The one step that brings the loop forward.

    `flat` is the reason why another round would bring nothing (see `plateau_reason`); with `replace` skipped images are
    replaced.
    """
    if progress.active_model is None:
        return "pretrain" if progress.source else "ingest"
    if progress.round and not progress.trained:
        if replace and progress.skipped and progress.pool_left:
            return "replace"
        return "annotate" if progress.unanswered else "retrain"
    if progress.round >= budget or not progress.pool_left:
        return "finished"
    return "wait" if flat else "propose"


def check_proposable(progress: Progress, round_number: int) -> None:
    """Raise SettingsError unless this round may be proposed now: the current one again, or the one after it.

    The one after it needs the current one's model; without it, what the current corrections teach would be left out.
    """
    n = progress.round
    if (round_number == n and n) or (round_number == n + 1 and (progress.trained or not n)):
        return
    following = f"Round {n + 1} is next: leave the round empty, or give {n + 1}."
    if n and not progress.trained:
        following = f"Round {n} has no model yet: {_missing(progress)}."
    raise SettingsError(f"Round {round_number} cannot be proposed: the last one proposed is {n}. {following}")


def check_trainable(progress: Progress, round_number: int) -> None:
    """Raise SettingsError unless this round's model may be trained now: all its images were dealt with, or it exists.

    Training a round that has its model changes nothing, so that is allowed.
    """
    n = progress.round
    if round_number in progress.models or (round_number == n and n and not progress.unanswered):
        return
    if not n:
        following = "propose round 1 with the flow 'propose'" if progress.models else "run the flow 'pretrain'"
        raise SettingsError(f"Round {round_number} cannot be trained: no round was proposed yet; {following}.")
    following = f"round {n} is trained; propose round {n + 1}" if progress.trained else _missing(progress)
    open_images = f"{progress.unanswered} of {len(progress.chosen)} images unanswered"
    raise SettingsError(
        f"Round {round_number} cannot be trained: the last one proposed is {n}, with {open_images}; {following}."
    )


def _missing(progress: Progress) -> str:
    """What the current round lacks until it has its model."""
    if progress.unanswered:
        return (
            f"correct {progress.unanswered} of its {len(progress.chosen)} images in Label Studio, "
            "then run the flows 'collect' and 'retrain'"
        )
    return f"train round {progress.round} with the flow 'retrain'"


def describe(progress: Progress, *, budget: int, flat: str = "", replace: bool = False) -> str:
    """What is due next, in words for a person."""
    n = progress.round
    match due(progress, budget=budget, flat=flat, replace=replace):
        case "ingest":
            return "Ingest a source (clean images) and a pool (images to choose from): run the flow 'ingest'."
        case "pretrain":
            return "Train model 0 on the source: run the flow 'pretrain'."
        case "propose":
            return f"Choose the images of round {n + 1}: run the flow 'advance'."
        case "replace":
            return f"Round {n}: replace {len(progress.skipped)} skipped images: run the flow 'advance'."
        case "wait":
            return (
                f"Waiting: {flat}. To go on all the same run the flow 'advance' with 'Go on although nothing "
                "improves'; else run 'finalize'."
            )
        case "annotate":
            waiting = f"{progress.unanswered} of {len(progress.chosen)} images"
            return f"Round {n}: {waiting} wait to be corrected in Label Studio."
        case "retrain":
            return f"Round {n}: retrain on the corrections: run the flow 'advance'."
        case "finished" if n >= budget:
            return (
                f"All rounds are done ({budget}). Run 'segment' for masks of all images. Optional before it: "
                "'finalize' trains a final model, longer and on larger images. For one more round run 'advance' with a "
                "larger 'Rounds in all'."
            )
        case _:
            lost = f" ({progress.unreadable} images cannot be read)" if progress.unreadable else ""
            return f"The pool has no image left after round {n}{lost}; ingest more images to go on."
