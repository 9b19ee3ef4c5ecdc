"""Label Studio in memory, for tests: it stores tasks as unchecked as the real server does."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import count
from typing import Any

from typing_extensions import override

from plankseg.errors import LabelStudioDownError, LabelStudioError
from plankseg.labelling.api.labeling_config import config_problem, upgraded_config
from plankseg.labelling.api.protocol import LabelStudio
from plankseg.labelling.api.tasks import BucketAccess, Task

EMAIL = "fake@plankseg.local"


class FakeLabelStudio(LabelStudio):
    """Label Studio in memory.

    Faults on demand, once each: the call named in `break_before` fails without doing anything; the one named in
    `break_after` does its work and then fails, as if the answer got lost. `uploaded` counts uploads.
    """

    def __init__(self) -> None:
        self.break_before: str | None = None
        self.break_after: str | None = None
        self.uploaded = 0
        self.buckets: dict[tuple[int, str], BucketAccess] = {}
        self._ids = count(1)
        self._projects: dict[int, tuple[str, str]] = {}
        self._images: dict[tuple[int, str], bytes] = {}
        self._tasks: dict[int, tuple[int, Task]] = {}
        self._tabs: dict[int, tuple[int, str, int | None]] = {}

    @override
    def check(self) -> str:
        self._fail_before("check")
        return f"Label Studio fake, signed in as {EMAIL}"

    @override
    def ensure_project(self, title: str, labeling_config: str) -> int:
        found = [number for number, (name, _) in self._projects.items() if name == title]
        problem = config_problem(self._projects[found[0]][1] if found else labeling_config)
        if problem or len(found) > 1:
            raise LabelStudioError(f"Project {title!r}: {problem or 'there are several of that title'}.")
        if found:
            self._projects[found[0]] = (title, upgraded_config(self._projects[found[0]][1], labeling_config))
            return found[0]
        return self.add_project(title, labeling_config)

    def add_project(self, title: str, labeling_config: str) -> int:
        """A project of any title, as a person can make it: titles are not unique."""
        number = next(self._ids)
        self._projects[number] = (title, labeling_config)
        return number

    def config_of(self, project: int) -> str:
        """The labelling configuration of a project."""
        return self._projects[project][1]

    @override
    def find_project(self, title: str) -> int | None:
        return next((number for number, (name, _) in self._projects.items() if name == title), None)

    def delete_project(self, project: int) -> None:
        """Delete a project and its tasks, as a person can in the interface."""
        del self._projects[project]
        self._tasks = {number: task for number, task in self._tasks.items() if task[0] != project}

    @override
    def fetch_image(self, address: str) -> bytes:
        if not address.startswith("/data/upload/"):
            raise LabelStudioError(f"its image {address[:80]!r} does not lie in Label Studio; upload it there.")
        project, name = address.removeprefix("/data/upload/").split("/", 1)
        return self._images[int(project), name.split("-", 1)[1]]

    @override
    def upload_images(self, project: int, images: Mapping[str, bytes]) -> dict[str, str]:
        self._fail_before("upload_images")
        for name, png in images.items():
            if self._images.get((project, name)) != png:
                self._images[project, name] = png
                self.uploaded += 1
        self._fail_after("upload_images")
        return {name: f"/data/upload/{project}/00000000-{name}" for name in images}

    @override
    def ensure_bucket(self, project: int, access: BucketAccess) -> None:
        self._fail_before("ensure_bucket")
        self.buckets[project, access.bucket] = access

    @override
    def list_tasks(self, project: int, round: int | None = None) -> list[Task]:
        self._fail_before("list_tasks")
        tasks = [task for _, (owner, task) in sorted(self._tasks.items()) if owner == project]
        return [_copy(task) for task in tasks if round is None or task["data"].get("round") == round]

    @override
    def import_tasks(self, project: int, tasks: Sequence[Task]) -> None:
        self._fail_before("import_tasks")
        for task in _copy(list(tasks)):
            predictions = [{**prediction, "id": next(self._ids)} for prediction in task.get("predictions", [])]
            number = next(self._ids)
            rest = {"data": task["data"], "annotations": [], "drafts": [], "predictions": predictions, "overlap": 1}
            self._tasks[number] = (project, {"id": number, **rest})
        self._fail_after("import_tasks")

    @override
    def add_premasks(self, project: int, predictions: Mapping[int, Task]) -> None:
        self._fail_before("add_premasks")
        for task_id, prediction in predictions.items():
            self._task(task_id)["predictions"].append({**_copy(dict(prediction)), "id": next(self._ids)})
        self._fail_after("add_premasks")

    @override
    def ask_people(self, tasks: Sequence[int], people: int) -> None:
        self._fail_before("ask_people")
        for task_id in tasks:
            self._task(task_id)["overlap"] = people
        self._fail_after("ask_people")

    @override
    def delete_task(self, task_id: int) -> None:
        self._task(task_id)
        del self._tasks[task_id]

    @override
    def create_annotation(
        self,
        task_id: int,
        result: Sequence[Task],
        *,
        lead_time: float,
        was_cancelled: bool = False,
        parent_prediction: int | None = None,
    ) -> int:
        self._fail_before("create_annotation")
        number = next(self._ids)
        annotation = {
            "id": number,
            "result": _copy(list(result)),
            "lead_time": lead_time,
            "was_cancelled": was_cancelled,
            "parent_prediction": parent_prediction,
            "completed_by": 1,
            "created_username": f" {EMAIL}, 1",
            "updated_at": _now(),
        }
        self._task(task_id)["annotations"].append(annotation)
        self._fail_after("create_annotation")
        return number

    @override
    def update_annotation(self, annotation_id: int, result: Sequence[Task], *, lead_time: float) -> None:
        for _, task in self._tasks.values():
            for annotation in task["annotations"]:
                if annotation["id"] == annotation_id:
                    change = {"lead_time": lead_time, "was_cancelled": False, "updated_at": _now()}
                    annotation.update(result=_copy(list(result)), **change)
                    return
        raise LabelStudioError(f"Label Studio has no annotation {annotation_id} (404).")

    def save_draft(self, task_id: int, result: Sequence[Task]) -> None:
        """Save a draft, as the interface does by itself while a person paints."""
        self._task(task_id)["drafts"].append({"id": next(self._ids), "result": _copy(list(result))})

    @override
    def ensure_tab(self, project: int, title: str, round: int | None) -> int:
        for number, (owner, name, _) in self._tabs.items():
            if (owner, name) == (project, title):
                return number
        number = next(self._ids)
        self._tabs[number] = (project, title, round)
        return number

    def _task(self, task_id: int) -> Task:
        if task_id not in self._tasks:
            raise LabelStudioError(f"Label Studio has no task {task_id} (404).")
        return self._tasks[task_id][1]

    def _fail_before(self, call: str) -> None:
        if self.break_before == call:
            self.break_before = None
            raise LabelStudioDownError(f"The fake Label Studio is set to fail before {call}.")

    def _fail_after(self, call: str) -> None:
        if self.break_after == call:
            self.break_after = None
            raise LabelStudioDownError(f"The fake Label Studio is set to fail after {call}.")


def _copy(value: Any) -> Any:
    """A deep copy through JSON, which also refuses what JSON cannot hold."""
    return json.loads(json.dumps(value, allow_nan=False))


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")
