"""Choose the task of an image that counts when a round has several.

An import whose answer got lost, or that was sent twice, leaves doubles. A task that a person has touched (answered, or
begun as a draft) is never removed; among the others the oldest stays.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from plankseg.labelling.api.tasks import Task, identity


@dataclass(frozen=True)
class RoundTasks:
    """The tasks of one round by image id: `kept` counts, `spare` are untouched doubles, `touched` doubles are not."""

    kept: dict[str, Task] = field(default_factory=dict)
    spare: list[Task] = field(default_factory=list)
    touched: list[Task] = field(default_factory=list)
    foreign: list[int] = field(default_factory=list)

    @property
    def ids(self) -> dict[str, int]:
        """The task of each image."""
        return {image_id: int(task["id"]) for image_id, task in self.kept.items()}


def deduplicate_tasks(tasks: Iterable[Task], *, round: int) -> RoundTasks:
    """One task per image, answered before begun before untouched, then by id; `foreign` are ids that are not ours."""
    found = RoundTasks()
    for task in sorted(tasks, key=_precedence):
        owner = identity(task)
        if owner is None or owner.round != round:
            found.foreign.append(int(task["id"]))
        elif owner.image_id not in found.kept:
            found.kept[owner.image_id] = task
        elif task.get("annotations") or task.get("drafts"):
            found.touched.append(task)
        else:
            found.spare.append(task)
    return found


def _precedence(task: Task) -> tuple[bool, bool, int]:
    return not task.get("annotations"), not task.get("drafts"), int(task["id"])
