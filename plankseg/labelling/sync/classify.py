"""Sort a project's tasks: ours as they were pushed, ours that a person edited, and those that people added."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from plankseg.labelling.api.tasks import Task, TaskIdentity, identity, task_key

IMAGE_ID = re.compile(r"[0-9a-f]{64}")


Kind = Literal["edited", "unknown image", "image of the validation set", "image not fetched", "no answer", "not ours"]


@dataclass(frozen=True)
class Refusal:
    """A task whose answers are not used, the kind of reason, and the reason with the next step."""

    task: int
    kind: Kind
    reason: str

    def __str__(self) -> str:
        return f"Label Studio task {self.task} is not used: {self.reason}"


@dataclass(frozen=True)
class ClassifiedTasks:
    """The tasks of a project: `ours` are as they were pushed, `manual` were added by people, `edited` are refused."""

    ours: list[Task] = field(default_factory=list)
    manual: list[Task] = field(default_factory=list)
    edited: list[Refusal] = field(default_factory=list)


def classify_tasks(tasks: Iterable[Task], *, pushed: Mapping[int, TaskIdentity]) -> ClassifiedTasks:
    """Compare each task with what was pushed under its number; tasks that are not in `pushed` are known by their key.

    An edited task shows the picture it was pushed with, whatever its data say now: its answer must not be taken for
    another image.
    """
    found = ClassifiedTasks()
    for task in tasks:
        recorded, claimed = pushed.get(task["id"]), identity(task)
        if recorded is not None and claimed != recorded:
            found.edited.append(Refusal(task["id"], "edited", _edited(task, recorded)))
        elif claimed is not None:
            found.ours.append(task)
        elif _looks_like_ours(task):
            found.edited.append(Refusal(task["id"], "edited", _inconsistent(task)))
        else:
            found.manual.append(task)
    return found


def _data(task: Task) -> Mapping[str, object]:
    data = task.get("data")
    return data if isinstance(data, Mapping) else {}


def _looks_like_ours(task: Task) -> bool:
    """Whether somebody edited a task of ours, of which there is no record: people's own tasks have no such fields."""
    data = _data(task)
    image_id, key = data.get("image_id"), data.get("key")
    has_id = isinstance(image_id, str) and IMAGE_ID.fullmatch(image_id)
    return bool(has_id) or (isinstance(key, str) and bool(IMAGE_ID.search(key)))


def _edited(task: Task, recorded: TaskIdentity) -> str:
    right = {"round": recorded.round, "image_id": recorded.image_id, "key": task_key(*recorded)}
    data = _data(task)
    wrong = [name for name, value in right.items() if type(data.get(name)) is not type(value) or data[name] != value]
    return (
        f"it was pushed for image {recorded.image_id} of round {recorded.round}, but its {' and '.join(wrong)} "
        f"{'was' if len(wrong) == 1 else 'were'} edited since. Set round {recorded.round}, image_id "
        f"{recorded.image_id!r} and key {right['key']!r} again, or delete the task."
    )


def _inconsistent(task: Task) -> str:
    data = _data(task)
    values = ", ".join(f"{name} {str(data.get(name))[:80]!r}" for name in ("round", "image_id", "key"))
    return (
        f"it was pushed by plankseg and edited since: {values} do not belong together. Its key must be round and "
        "image_id, separated by a colon, and its round a whole number; set them again, or delete the task."
    )


def summarize_refusals(refusals: Iterable[Refusal]) -> list[str]:
    """One line for each kind of reason, the most frequent first: thousands of tasks are not thousands of lines."""
    by_kind: dict[Kind, list[Refusal]] = {}
    for refusal in refusals:
        by_kind.setdefault(refusal.kind, []).append(refusal)
    return [_summary(of_kind) for of_kind in sorted(by_kind.values(), key=len, reverse=True)]


def _summary(refusals: list[Refusal]) -> str:
    if len(refusals) == 1:
        return str(refusals[0])
    first = ", ".join(str(refusal.task) for refusal in refusals[:5])
    more = f" and {len(refusals) - 5} more" if len(refusals) > 5 else ""
    return f"{len(refusals)} Label Studio tasks ({first}{more}) are not used. The first: {refusals[0].reason}"
