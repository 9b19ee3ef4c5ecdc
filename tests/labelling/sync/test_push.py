"""Whatever fails in the middle of a push, the next one completes it without a double."""

from collections.abc import Sequence

import pytest

from plankseg.errors import LabelStudioDownError, LabelStudioError
from plankseg.labelling.api.tasks import Task, TaskIdentity, identity
from plankseg.labelling.sync.push import push_round
from plankseg.labelling.testing.fake import FakeLabelStudio
from tests.support.labelling_project import CONFIG, item

ITEMS = [item(f"img{n}") for n in range(5)]
KEYS = {(1, i.image_id) for i in ITEMS}


@pytest.fixture
def fake() -> FakeLabelStudio:
    return FakeLabelStudio()


def keys(fake: FakeLabelStudio, project: int) -> list[tuple[int, str] | None]:
    return [identity(task) for task in fake.list_tasks(project)]


@pytest.mark.parametrize(
    ("when", "call"),
    [
        ("break_before", "list_tasks"),
        ("break_before", "upload_images"),
        ("break_after", "upload_images"),
        ("break_before", "import_tasks"),
    ],
)
def test_a_push_that_breaks_anywhere_is_completed_by_the_next(fake: FakeLabelStudio, when: str, call: str) -> None:
    project = fake.ensure_project("push", CONFIG)
    setattr(fake, when, call)
    with pytest.raises(LabelStudioError):
        push_round(fake, project, ITEMS, round=1)
    report = push_round(fake, project, ITEMS, round=1)
    assert set(report.tasks) == {i.image_id for i in ITEMS}
    assert sorted(keys(fake, project)) == sorted(KEYS)
    assert fake.uploaded == len(ITEMS)


def test_an_import_whose_answer_is_lost_is_not_repeated(fake: FakeLabelStudio) -> None:
    project = fake.ensure_project("push", CONFIG)
    fake.break_after = "import_tasks"
    report = push_round(fake, project, ITEMS, round=1)
    assert fake.break_after is None
    assert len(report.tasks) == len(fake.list_tasks(project)) == len(ITEMS)


def test_an_import_during_which_the_server_went_down_says_that_it_is_down(fake: FakeLabelStudio) -> None:
    project = fake.ensure_project("push", CONFIG)
    push_round(fake, project, ITEMS[:2], round=1)
    fake.break_before = "import_tasks"
    with pytest.raises(LabelStudioDownError, match="fail before import_tasks"):
        push_round(fake, project, ITEMS, round=1)
    assert len(push_round(fake, project, ITEMS, round=1).imported) == 3


class RefusingLabelStudio(FakeLabelStudio):
    """It is there, and does not take the tasks."""

    def import_tasks(self, project: int, tasks: Sequence[Task]) -> None:
        raise LabelStudioError(f"project {project}: status 400 for {len(tasks)} tasks")


def test_an_import_that_was_refused_says_what_is_missing_and_why() -> None:
    refusing = RefusingLabelStudio()
    project = refusing.ensure_project("push", CONFIG)
    with pytest.raises(LabelStudioError, match=r"5 of 5 images of round 1 .* img0; push") as caught:
        push_round(refusing, project, ITEMS, round=1)
    assert not isinstance(caught.value, LabelStudioDownError)
    assert "status 400" in str(caught.value.__cause__)


class SlowLabelStudio(FakeLabelStudio):
    """The import's answer gets lost and its tasks appear late, after the next push has listed: a double is born."""

    def __init__(self) -> None:
        super().__init__()
        self.late: list[Task] = []

    def import_tasks(self, project: int, tasks: list[Task]) -> None:  # type: ignore[override]
        if not self.late:
            self.late = tasks
            raise LabelStudioDownError("timed out")
        super().import_tasks(project, tasks)
        super().import_tasks(project, self.late)


def test_doubles_of_an_import_that_arrived_late_are_removed() -> None:
    slow = SlowLabelStudio()
    project = slow.ensure_project("push", CONFIG)
    with pytest.raises(LabelStudioError):
        push_round(slow, project, ITEMS, round=1)
    report = push_round(slow, project, ITEMS, round=1)
    assert len(report.removed_doubles) == len(ITEMS)
    assert sorted(keys(slow, project)) == sorted(KEYS)
    assert sorted(report.tasks.values()) == [task["id"] for task in slow.list_tasks(project)]


def test_an_image_that_is_listed_twice_is_refused(fake: FakeLabelStudio) -> None:
    with pytest.raises(LabelStudioError, match="img0 more than once"):
        push_round(fake, fake.ensure_project("push", CONFIG), [*ITEMS, ITEMS[0]], round=1)


def test_nothing_to_push_is_no_work(fake: FakeLabelStudio) -> None:
    assert push_round(fake, fake.ensure_project("push", CONFIG), [], round=1).tasks == {}


def test_two_projects_of_one_title_are_an_error(fake: FakeLabelStudio) -> None:
    fake.add_project("push", CONFIG)
    fake.add_project("push", CONFIG)
    with pytest.raises(LabelStudioError, match="push"):
        fake.ensure_project("push", CONFIG)


def test_a_new_server_that_gives_the_numbers_of_an_old_one_again_gets_every_task() -> None:
    other = {number: TaskIdentity(round=1, image_id=f"{number:064x}") for number in range(20)}
    new = FakeLabelStudio()
    project = new.ensure_project("push", CONFIG)
    report = push_round(new, project, ITEMS, round=1, pushed=other)
    assert sorted(keys(new, project)) == sorted(KEYS)
    assert sorted(report.tasks.values()) == [task["id"] for task in new.list_tasks(project)]
