"""Two people on one round: who did what, how far they agree, and nothing counted twice."""

from pathlib import Path

import pytest

from plankseg.imaging.arrays import Mask
from plankseg.imaging.masks import dice
from plankseg.pipeline.annotation.collect_answers import Collected
from plankseg.pipeline.loop.annotators import AnnotatorWork, DoubleAnswer, double_answers, work_by_annotator
from plankseg.pipeline.loop.effort import effort_of
from plankseg.pipeline.loop.progress import read_progress
from tests.support.annotation_desk import PREMASK, SHAPE, Desk, desk_with_round, task_of
from tests.support.little_store import square

OTHER = "second@plankseg.local"
FIRST = "fake@plankseg.local"


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return desk_with_round(tmp_path)


def answer_as_other(desk: Desk, index: int, mask: Mask) -> None:
    """A second person answers the same task."""
    desk.answer(index, mask)
    task = desk.server._task(task_of(desk.server, desk.project, desk.ids[index]))
    task["annotations"][-1] |= {"completed_by": 2, "created_username": f" {OTHER}, 2"}


def test_two_people_share_a_round_and_nothing_is_counted_twice(desk: Desk) -> None:
    desk.answer(0, PREMASK)
    desk.answer(1, square(SHAPE, 10))
    answer_as_other(desk, 1, square(SHAPE, 14))
    answer_as_other(desk, 2, square(SHAPE, 9))
    assert desk.collect() == Collected(new=4, answered=3, open=1, quarantined=())
    assert work_by_annotator(desk.store, 1) == [
        AnnotatorWork(FIRST, answers=2, counted=1, seconds=15.0),
        AnnotatorWork(OTHER, answers=2, counted=2, seconds=15.0),
    ]
    agreed = dice(square(SHAPE, 10), square(SHAPE, 14))
    assert double_answers(desk.store, 1) == [DoubleAnswer(desk.ids[1], FIRST, OTHER, pytest.approx(agreed))]
    assert read_progress(desk.store).unanswered == 1
    (effort,) = effort_of(desk.store, redrawn_below=0.95)
    assert effort.shown.images == 3
    assert len({row.image_id for row in desk.store.labels.answered(1)}) == 3


def test_a_person_who_changes_an_answer_is_one_person(desk: Desk) -> None:
    desk.answer(0, PREMASK)
    desk.answer(0, square(SHAPE, 15))
    desk.collect()
    assert work_by_annotator(desk.store, 1) == [AnnotatorWork(FIRST, answers=1, counted=1, seconds=7.5)]
    assert double_answers(desk.store, 1) == []


def test_one_person_alone_is_compared_with_nobody_and_a_skip_with_no_mask(desk: Desk) -> None:
    desk.answer(0, was_cancelled=True)
    answer_as_other(desk, 0, PREMASK)
    desk.collect()
    assert double_answers(desk.store, 1) == []
    assert [(work.annotator, work.counted) for work in work_by_annotator(desk.store, 1)] == [(FIRST, 0), (OTHER, 1)]
