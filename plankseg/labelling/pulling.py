"""What has been answered of a round, and is it complete?"""

from collections.abc import Callable
from dataclasses import dataclass

from plankseg.imaging.arrays import Mask
from plankseg.labelling.keeping import sort_tasks
from plankseg.labelling.protocol import LabelStudio
from plankseg.labelling.tasks import Answer, read_answers


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
    found = sort_tasks(ls.list_tasks(project, round), round=round)
    answers = [
        answer
        for task in (*found.kept.values(), *found.touched)
        for answer in read_answers(task, shape_of=shape_of, premask_of=premask_of)
    ]
    answered = {answer.image_id for answer in answers}
    return Pulled(
        answers=tuple(sorted(answers, key=lambda answer: (answer.updated_at, answer.annotation_id))),
        tasks=found.ids,
        unanswered=tuple(image_id for image_id in found.kept if image_id not in answered),
        foreign=tuple(found.foreign),
    )
