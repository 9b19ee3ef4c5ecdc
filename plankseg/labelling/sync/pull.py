"""What has been answered of a round, and is it complete?"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from plankseg.imaging.arrays import Mask
from plankseg.labelling.api.protocol import LabelStudio
from plankseg.labelling.api.tasks import Answer, Task, read_answers, version_of
from plankseg.labelling.sync.deduplicate import deduplicate_tasks


@dataclass(frozen=True)
class Pulled:
    """Every answer of a round, oldest first; `foreign` are tasks with the round's number that we did not push."""

    answers: tuple[Answer, ...]
    tasks: dict[str, int]
    unanswered: tuple[str, ...]
    foreign: tuple[int, ...]

    @property
    def is_complete(self) -> bool:
        """True when every image was answered or skipped; a round without a task is not complete."""
        return bool(self.tasks) and not self.unanswered


def pull_round(
    ls: LabelStudio,
    project: int,
    *,
    round: int,
    shape_of: Callable[[str], tuple[int, int]],
    premask_of: Callable[[str], Mask | None],
) -> Pulled:
    """Read a round's answers, quarantined ones among them; see `read_answers`. Nothing is changed on the server."""
    return read_round(ls.list_tasks(project, round), round=round, shape_of=shape_of, premask_of=premask_of)


def read_round(
    tasks: Iterable[Task],
    *,
    round: int,
    shape_of: Callable[[str], tuple[int, int]],
    premask_of: Callable[[str], Mask | None],
    is_known: Callable[[tuple[int, datetime]], bool] = lambda _: False,
) -> Pulled:
    """A round's answers among tasks that were listed already, tasks of other rounds left out.

    `is_known` is asked with an answer's annotation and time; known answers are left out of `answers`, unread.
    """
    found = deduplicate_tasks((task for task in tasks if _names_round(task, round)), round=round)
    answers = [
        answer
        for task in (*found.kept.values(), *found.touched)
        for answer in read_answers(_with_news(task, is_known), shape_of=shape_of, premask_of=premask_of)
    ]
    return Pulled(
        answers=tuple(sorted(answers, key=lambda answer: (answer.updated_at, answer.annotation_id))),
        tasks=found.ids,
        unanswered=tuple(image_id for image_id, task in found.kept.items() if not task.get("annotations")),
        foreign=tuple(found.foreign),
    )


def _names_round(task: Task, round: int) -> bool:
    data = task.get("data")
    return isinstance(data, Mapping) and data.get("round") == round


def _with_news(task: Task, is_known: Callable[[tuple[int, datetime]], bool]) -> Task:
    annotations = task.get("annotations") or []
    return {**task, "annotations": [one for one in annotations if not is_known(version_of(one))]}
