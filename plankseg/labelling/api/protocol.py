"""The calls that plankseg makes to Label Studio, as a protocol: over HTTP in the client, in memory in the fake."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from plankseg.labelling.api.tasks import BucketAccess, Task


class LabelStudio(Protocol):
    """The calls that plankseg makes to Label Studio; the same contract tests run on the client and on the fake."""

    def check(self) -> str:
        """Release and account in words; raises LabelStudioDownError or LabelStudioAuthError."""

    def ensure_project(self, title: str, labeling_config: str) -> int:
        """Id of the project of that title, made if missing; LabelStudioError if two have it or its names differ."""

    def find_project(self, title: str) -> int | None:
        """Id of the project of that title, None while there is none; LabelStudioError if several have it."""

    def fetch_image(self, address: str) -> bytes:
        """The bytes of an image that lies in Label Studio itself; LabelStudioError for any other address."""

    def upload_images(self, project: int, images: Mapping[str, bytes]) -> dict[str, str]:
        """Address of each PNG by its file name; one that is already there is not uploaded again."""

    def ensure_bucket(self, project: int, access: BucketAccess) -> None:
        """Let the project show images of a bucket; a second call renews the credentials."""

    def list_tasks(self, project: int, round: int | None = None) -> list[Task]:
        """Tasks (of one round) by id, each with all annotations, cancelled ones too, drafts and predictions."""

    def import_tasks(self, project: int, tasks: Sequence[Task]) -> None:
        """Add tasks, all or none. Not idempotent: an error may mean that the server has them all the same."""

    def add_premasks(self, project: int, predictions: Mapping[int, Task]) -> None:
        """Give tasks their pre-mask, by task, and let the project's label stream show it. Not idempotent."""

    def ask_people(self, tasks: Sequence[int], people: int) -> None:
        """Let the label stream offer these tasks until so many people have answered each."""

    def delete_task(self, task_id: int) -> None:
        """Remove a task with its answers, drafts and predictions."""

    def create_annotation(
        self,
        task_id: int,
        result: Sequence[Task],
        *,
        lead_time: float,
        was_cancelled: bool = False,
        parent_prediction: int | None = None,
    ) -> int:
        """Answer a task as the interface would; the new annotation's id."""

    def update_annotation(self, annotation_id: int, result: Sequence[Task], *, lead_time: float) -> None:
        """Change an answer; it gets a new `updated_at`."""

    def ensure_tab(self, project: int, title: str, round: int | None) -> int:
        """Id of the data manager's tab that shows one round, the most uncertain image first; made if missing.

        A new tab stands before those that are there. Without a round it shows the tasks that a person added.
        """
