"""The training of the click network: what its lessons hold, and that it learns."""

import numpy as np
import pytest
import torch

from plankseg.interactive.click_features import CHANNELS
from plankseg.interactive.click_training import SIDE_PX, ClickTraining, draw_lessons, train_click_network


def test_a_lesson_means_one_error_and_says_nothing_of_the_others() -> None:
    rng = np.random.default_rng(0)
    lessons = [lesson for _ in range(40) for lesson in draw_lessons(rng)]
    assert len(lessons) > 40
    for lesson in lessons:
        assert lesson.features.shape == (CHANNELS, SIDE_PX, SIDE_PX)
        assert np.isfinite(lesson.features).all()
        assert lesson.meant.any()
        assert (lesson.weight[lesson.meant > 0] == 1).all()


@pytest.mark.slow
def test_a_training_repeats_itself_and_leaves_the_seeds_of_others_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    first, second = (train_click_network(ClickTraining(steps=3, batch_size=4)) for _ in range(2))
    assert torch.equal(torch.rand(2), expected)
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    assert all(torch.equal(ours, theirs) for ours, theirs in pairs)
