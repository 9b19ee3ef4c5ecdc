"""Scores per image and what can be said about their mean."""

import numpy as np
import pytest
import scipy.stats
import torch

from plankseg.errors import MaskShapeError, ScoreError
from plankseg.learning.metrics import (
    ImageScores,
    bootstrap_interval,
    is_clearly_better,
    paired_bootstrap,
    score_images,
)
from plankseg.learning.network.torchvision_compat import smp

pytestmark = pytest.mark.slow


def test_scores_agree_with_segmentation_models_pytorch_image_by_image():
    rng = np.random.default_rng(0)
    predicted, truth = rng.random((6, 9, 7)) > 0.4, rng.random((6, 9, 7)) > 0.6
    scores = score_images([str(i) for i in range(6)], list(predicted), list(truth))
    counts = smp.metrics.get_stats(
        torch.from_numpy(predicted[:, None]), torch.from_numpy(truth[:, None]).long(), mode="binary"
    )
    assert scores.mean_dice == pytest.approx(
        float(smp.metrics.f1_score(*counts, reduction="micro-imagewise")), abs=1e-6
    )
    assert np.mean(list(scores.iou.values())) == pytest.approx(
        float(smp.metrics.iou_score(*counts, reduction="micro-imagewise")), abs=1e-6
    )


def test_two_empty_masks_agree_and_one_empty_mask_does_not():
    empty, full = np.zeros((3, 4), bool), np.ones((3, 4), bool)
    scores = score_images(["both", "one"], [empty, empty], [empty, full])
    assert (scores.dice, scores.iou) == ({"both": 1.0, "one": 0.0}, {"both": 1.0, "one": 0.0})


def test_masks_of_another_size_and_images_given_twice_are_refused():
    mask = np.zeros((3, 4), bool)
    with pytest.raises(MaskShapeError):
        score_images(["a"], [mask], [mask.T.copy()])
    with pytest.raises(ScoreError, match="once"):
        score_images(["a", "a"], [mask, mask], [mask, mask])
    with pytest.raises(ScoreError, match="at least one"):
        score_images([], [], [])


def test_bootstrap_interval_agrees_with_scipy():
    values = np.random.default_rng(1).beta(8, 2, size=70)
    ours = bootstrap_interval(values, rng=np.random.default_rng(2), draws=5000)
    theirs = scipy.stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=5000, rng=np.random.default_rng(3)
    )
    assert ours == pytest.approx(tuple(theirs.confidence_interval), abs=0.003)


def test_interval_of_one_image_has_no_width():
    assert bootstrap_interval([0.4], rng=np.random.default_rng(0)) == pytest.approx((0.4, 0.4))


def test_pairing_sees_a_small_steady_gain_that_unpaired_intervals_do_not():
    rng = np.random.default_rng(0)
    before = rng.uniform(0.2, 0.9, size=70)
    after = before + rng.normal(0.02, 0.02, size=70)
    difference = paired_bootstrap(after, before, rng=rng)
    assert 0 < difference.low < difference.mean < difference.high
    assert bootstrap_interval(after, rng=rng).low < bootstrap_interval(before, rng=rng).high


def test_pairing_is_antisymmetric_and_reproducible():
    a, b = np.random.default_rng(5).random((2, 30))
    one = paired_bootstrap(a, b, rng=np.random.default_rng(9))
    other = paired_bootstrap(b, a, rng=np.random.default_rng(9))
    assert one == paired_bootstrap(a, b, rng=np.random.default_rng(9))
    assert one == pytest.approx((-other.mean, -other.high, -other.low))


def test_unpairable_or_unfinite_scores_are_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(ScoreError, match="2 values cannot be paired with 1"):
        paired_bootstrap([0.1, 0.2], [0.1], rng=rng)
    with pytest.raises(ScoreError, match="1 of them not finite"):
        bootstrap_interval([0.1, float("nan")], rng=rng)
    with pytest.raises(ScoreError, match="0 scores"):
        bootstrap_interval([], rng=rng)


@pytest.mark.parametrize(
    ("images", "gain", "clearly"), [(12, 0.1, True), (12, 0.0, False), (12, -0.1, False), (3, 0.1, False)]
)
def test_scores_are_clearly_better_only_by_more_than_chance_and_on_enough_images(images, gain, clearly):
    rng = np.random.default_rng(5)
    others = {f"image {n}": float(value) for n, value in enumerate(rng.uniform(0.5, 0.8, images))}
    scores = {name: value + gain + float(rng.normal(0, 0.02)) for name, value in others.items()}
    assert is_clearly_better(ImageScores(scores, {}), ImageScores(others, {})) is clearly
