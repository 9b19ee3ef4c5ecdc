"""Read the answers of one round from listed tasks."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from plankseg.imaging.arrays import Mask
from plankseg.labelling.api.answers import (
    Answer,
    AnswerVersion,
    annotations_of,
    read_answers,
    unreadable_answers,
    version_of,
)
from plankseg.labelling.api.tasks import Task
from plankseg.labelling.sync.deduplicate import deduplicate_tasks


@dataclass(frozen=True)
class RoundAnswers:
    """Every answer of a round, oldest first; `foreign` are tasks with the round's number that we did not push.

    `unreadable` says what stands in the place of answers but is none.
    """

    answers: tuple[Answer, ...]
    tasks: dict[str, int]
    unanswered: tuple[str, ...]
    foreign: tuple[int, ...]
    unreadable: tuple[str, ...] = ()


def read_round(
    tasks: Iterable[Task],
    *,
    round: int,
    shape_of: Callable[[str], tuple[int, int]],
    premask_of: Callable[[str], Mask | None],
    is_known: Callable[[AnswerVersion], bool] = lambda _: False,
) -> RoundAnswers:
    """A round's answers among listed tasks, quarantined ones included; tasks of other rounds are left out.

    `shape_of` and `premask_of` as in `read_answers`. Versions of answers for which `is_known` is true are not decoded
    and left out of `answers`. Nothing is changed on the server.
    """
    found = deduplicate_tasks((task for task in tasks if _is_of_round(task, round)), round=round)
    counted = (*found.kept.values(), *found.touched)
    answers = [
        answer
        for task in counted
        for answer in read_answers(_without_known(task, is_known), shape_of=shape_of, premask_of=premask_of)
    ]
    return RoundAnswers(
        answers=tuple(sorted(answers, key=lambda answer: (answer.updated_at, answer.annotation_id))),
        tasks=found.ids,
        unanswered=tuple(image_id for image_id, task in found.kept.items() if not annotations_of(task)),
        foreign=tuple(found.foreign),
        unreadable=tuple(text for task in counted for text in unreadable_answers(task)),
    )


def _is_of_round(task: Task, round: int) -> bool:
    data = task.get("data")
    return isinstance(data, Mapping) and type(data.get("round")) is int and data["round"] == round


def _without_known(task: Task, is_known: Callable[[AnswerVersion], bool]) -> Task:
    return {
        **task,
        "annotations": [annotation for annotation in annotations_of(task) if not is_known(version_of(annotation))],
    }
