"""Collect people's answers from Label Studio into the label store, round by round."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from plankseg.labelling.api.protocol import LabelStudio
from plankseg.labelling.api.tasks import Task
from plankseg.labelling.sync.classify import Refusal, classify_tasks, summarize_refusals
from plankseg.pipeline.annotation.label_rows import NewRows, Premask, new_label_rows, pushed_tasks
from plankseg.pipeline.annotation.manual_tasks import ManualTasks, read_manual_tasks
from plankseg.storage.store import Store


@dataclass(frozen=True)
class Collected:
    """What a collect brought one round: new versions of answers, and how many images are still open.

    `quarantined` are the reasons of malformed answers: the new ones, and those that were not answered again since.
    `unanswered_clicks` were left in new answers and are ignored.
    """

    new: int
    answered: int
    open: int
    quarantined: tuple[str, ...]
    unanswered_clicks: int = 0


@dataclass(frozen=True)
class CollectReport:
    """What a collect brought: each round, the tasks that people added, and the tasks that cannot be used."""

    rounds: Mapping[int, Collected]
    manual: ManualTasks
    refusals: tuple[Refusal, ...]

    @property
    def new(self) -> int:
        """New versions of answers to proposed images."""
        return sum(of_round.new for of_round in self.rounds.values())

    @property
    def open(self) -> int:
        """Proposed images that nobody answered yet."""
        return sum(of_round.open for of_round in self.rounds.values())

    @property
    def quarantined(self) -> tuple[str, ...]:
        """Why answers are quarantined."""
        of_rounds = [reason for of_round in self.rounds.values() for reason in of_round.quarantined]
        return (*of_rounds, *self.manual.quarantined)

    def problems(self) -> list[str]:
        """Why answers and tasks are not used: one line each, or one for all tasks with the same reason."""
        return [*self.quarantined, *summarize_refusals(self.refusals), *self._ignored()]

    def _ignored(self) -> list[str]:
        clicks = sum(of_round.unanswered_clicks for of_round in self.rounds.values())
        if not clicks:
            return []
        return [
            f"{clicks} clicks or boxes were left in answers without the assistant's answer: they are ignored, the "
            "masks count as they were. Look whether the assistant runs (`plankseg assist`, which `make up` starts)."
        ]


def collect(store: Store, label_studio: LabelStudio, project: int) -> CollectReport:
    """Take the answers of every proposed round, and of tasks that people added, from one listing of the tasks.

    Each version of an answer is taken once. A malformed answer is quarantined alone, with its reason. An answer to an
    earlier round that was changed later is taken too, and counts from then on. Answers to added tasks count from the
    round that is trained next. A task of ours that a person edited is refused.
    """
    tasks = classify_tasks(label_studio.list_tasks(project), pushed=pushed_tasks(store, project))
    rounds = _record_rounds(store, tasks.ours)
    manual = collect_manual_tasks(store, label_studio, tasks.manual)
    return CollectReport(rounds, manual, (*tasks.edited, *manual.refusals))


def collect_manual_tasks(store: Store, label_studio: LabelStudio, tasks: Sequence[Task]) -> ManualTasks:
    """Take the answers of listed tasks that people added themselves; they count from the round trained next."""
    newest = max(store.proposals.rounds(), default=0)
    trained = not newest or store.models.of_round(newest) is not None
    known = store.labels.versions()
    found = read_manual_tasks(store, label_studio, tasks, round_number=newest + trained, known=known)
    store.add_answers(found.labels)
    return found


def record_answers(
    store: Store, tasks: Sequence[Task], *, round_number: int, premasks: Mapping[str, Premask]
) -> Collected:
    """Record the new answers among the tasks of the images of `premasks`."""
    fresh = new_label_rows(store, tasks, round_number, premasks=premasks, known=store.labels.versions())
    store.add_answers(fresh.rows)
    return _report(store, round_number, asked=premasks.keys(), fresh=fresh)


def _record_rounds(store: Store, tasks: Sequence[Task]) -> dict[int, Collected]:
    """Record the new answers among the listed tasks in one commit; one report a round."""
    rounds = store.proposals.rounds()
    if not rounds:
        return {}
    known = store.labels.versions()
    premasks = {n: {row.image_id: Premask.of(row) for row in store.proposals.asked(n)} for n in rounds}
    fresh = {n: new_label_rows(store, tasks, n, premasks=premasks[n], known=known) for n in rounds}
    store.add_answers(label for new in fresh.values() for label in new.rows)
    return {n: _report(store, n, asked=premasks[n].keys(), fresh=fresh[n]) for n in rounds}


def _report(store: Store, round_number: int, *, asked: AbstractSet[str], fresh: NewRows) -> Collected:
    answers = [row for row in store.labels.answered(round_number) if row.image_id in asked]
    # Each reason once: those of new rows and those that still hold.
    reasons = [row.reason or "" for row in (*answers, *fresh.rows) if row.status == "quarantined"]
    return Collected(
        new=len(fresh.rows),
        answered=len(answers),
        open=len(asked) - len(answers),
        quarantined=tuple(dict.fromkeys([*reasons, *fresh.unreadable])),
        unanswered_clicks=fresh.unanswered_clicks,
    )
