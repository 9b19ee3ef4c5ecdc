"""Drawn scenes: repeatable, and with errors of both kinds."""

import numpy as np

from plankseg.interactive.drawn_scenes import draw_scene


def test_a_scene_depends_on_its_seed_alone() -> None:
    first, second = (draw_scene(np.random.default_rng(7), 48) for _ in range(2))
    for ours, theirs in zip(vars(first).values(), vars(second).values(), strict=True):
        assert np.array_equal(ours, theirs)


def test_scenes_have_an_object_and_pre_masks_that_miss_and_exceed_it() -> None:
    rng = np.random.default_rng(1)
    scenes = [draw_scene(rng, 48) for _ in range(60)]
    assert all(scene.truth.any() for scene in scenes)
    assert all(0 <= scene.probability.min() <= scene.probability.max() <= 1 for scene in scenes)
    assert sum(bool((scene.truth & ~scene.mask).any()) for scene in scenes) > 30
    assert sum(bool((scene.mask & ~scene.truth).any()) for scene in scenes) > 30
