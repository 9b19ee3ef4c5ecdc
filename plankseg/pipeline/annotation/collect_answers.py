"""Collect people's answers from Label Studio into the label store, round by round."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from plankseg.labelling.api.protocol import LabelStudio
from plankseg.labelling.api.tasks import Task
from plankseg.pipeline.annotation.label_rows import Premask, new_label_rows
from plankseg.pipeline.annotation.manual_tasks import ManualTasks, read_manual_tasks
from plankseg.storage.store import Store
from plankseg.storage.tables.labels import LabelRow


@dataclass(frozen=True)
class Collected:
    """What a collect brought one round: new versions of answers, and how many images are still open.

    `quarantined` are the reasons of malformed answers: the new ones, and those that were not answered again since.
    """

    new: int
    answered: int
    open: int
    quarantined: tuple[str, ...]


def collect_all(
    store: Store, label_studio: LabelStudio, project: int, *, tasks: Sequence[Task] | None = None
) -> dict[int, Collected]:
    """Take the answers of every proposed round from one listing of the tasks, which may be given; one report a round.

    Each version of an answer is taken once. A malformed answer is quarantined alone, with its reason. An answer to an
    earlier round that was changed later is taken too, and counts from then on.
    """
    rounds = store.proposals.rounds()
    if not rounds:
        return {}
    return _record_rounds(store, label_studio.list_tasks(project) if tasks is None else tasks, rounds)


def collect_manual_tasks(store: Store, label_studio: LabelStudio, tasks: Sequence[Task]) -> ManualTasks:
    """Take the answers of listed tasks that people added themselves; they count from the round trained next."""
    newest = max(store.proposals.rounds(), default=0)
    trained = not newest or store.models.of_round(newest) is not None
    known = store.labels.versions()
    found = read_manual_tasks(store, label_studio, tasks, round_number=newest + trained, known=known)
    store.labels.add(found.labels)
    return found


def record_answers(
    store: Store, tasks: Sequence[Task], *, round_number: int, premasks: Mapping[str, Premask]
) -> Collected:
    """Record the new answers among the tasks of the images of `premasks`."""
    fresh = new_label_rows(store, tasks, round_number, premasks=premasks, known=store.labels.versions())
    store.labels.add(fresh)
    return _report(store, round_number, asked=premasks.keys(), fresh=fresh)


def _record_rounds(store: Store, tasks: Sequence[Task], rounds: Sequence[int]) -> dict[int, Collected]:
    """Record the new answers among the listed tasks in one commit; one report a round."""
    known = store.labels.versions()
    premasks = {n: {row.image_id: Premask.of(row) for row in store.proposals.asked(n)} for n in rounds}
    fresh = {n: new_label_rows(store, tasks, n, premasks=premasks[n], known=known) for n in rounds}
    store.labels.add(label for labels in fresh.values() for label in labels)
    return {n: _report(store, n, asked=premasks[n].keys(), fresh=fresh[n]) for n in rounds}


def _report(store: Store, round_number: int, *, asked: AbstractSet[str], fresh: Sequence[LabelRow]) -> Collected:
    answers = [row for row in store.labels.answered(round_number) if row.image_id in asked]
    # Each reason once: those of new rows and those that still hold.
    reasons = dict.fromkeys(row.reason or "" for row in (*answers, *fresh) if row.status == "quarantined")
    return Collected(new=len(fresh), answered=len(answers), open=len(asked) - len(answers), quarantined=tuple(reasons))
