"""A task is well formed, and only a task with our key is ours."""

import numpy as np
import pytest

from plankseg.errors import LabelStudioError, ScoreError
from plankseg.labelling.api.answers import read_answers
from plankseg.labelling.api.tasks import build_task, identity
from tests.support.labelling_project import item

SHAPE = (24, 40)


def test_no_premask_means_no_prediction_and_an_empty_one_no_region() -> None:
    assert "predictions" not in build_task(item("img", premask=None), round=1, image_url="/x")
    empty = build_task(item("img", premask=np.zeros(SHAPE, bool)), round=1, image_url="/x")
    assert empty["predictions"][0]["result"] == []


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_a_score_that_is_no_number_is_refused(score: float) -> None:
    with pytest.raises(ScoreError, match="img"):
        build_task(item("img", score=score), round=1, image_url="/x")


@pytest.mark.parametrize(
    "data",
    [
        None,
        {},
        {"round": 3, "image_id": "img"},
        {"round": "3", "image_id": "img", "key": "3:img"},
        {"round": 3, "image_id": None, "key": "3:None"},
        {"round": 2, "image_id": "img", "key": "3:img"},
    ],
)
def test_a_task_without_our_key_is_not_ours(data: object) -> None:
    made = {"id": 87, "data": data, "annotations": []}
    assert identity(made) is None
    with pytest.raises(LabelStudioError, match="87"):
        read_answers(made, shape_of={}.__getitem__, premask_of=lambda _: None)
