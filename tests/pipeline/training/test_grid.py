"""A grid becomes runs: every combination once, in a fixed order, under a name a person can read."""

import pytest
from pydantic import ValidationError

from plankseg.config import Grid, Recipe, TrainingConfig
from plankseg.errors import SettingsError
from plankseg.pipeline.training.grid import planned_runs, short_names

EMPTY = Grid(architectures=(), freeze_encoder=(), learning_rates=())


def test_the_default_grid_is_the_published_twelve_runs() -> None:
    runs = planned_runs(Recipe(), Grid())
    assert len({run.key for run in runs}) == len({run.recipe for run in runs}) == len(runs) == 12
    assert runs[0].key == "Unet frozen lr 1e-4 affine seed 0"
    assert runs[-1].key == "DeepLabV3Plus unfrozen lr 1e-3 affine seed 0"
    assert {
        (run.recipe.training.side_px, run.recipe.training.batch_size, run.recipe.training.epochs) for run in runs
    } == {(256, 16, 20)}


def test_an_empty_axis_keeps_what_the_recipe_says() -> None:
    base = Recipe.model_validate({"network": {"architecture": "DeepLabV3Plus"}, "training": {"learning_rate": 0.0025}})
    runs = planned_runs(base, EMPTY.model_copy(update={"seeds": (1, 2)}))
    assert [run.key for run in runs] == [f"DeepLabV3Plus unfrozen lr 2.5e-3 affine seed {seed}" for seed in (1, 2)]
    assert runs[0].recipe.model_copy(update={"training": base.training}) == base


def test_compositions_times_seeds_keep_the_order_of_the_grid() -> None:
    grid = EMPTY.model_copy(update={"augmentations": ("affine", "basic"), "seeds": (3, 1)})
    settings = [(run.recipe.training.augmentation, run.recipe.training.seed) for run in planned_runs(Recipe(), grid)]
    assert settings == [("affine", 3), ("affine", 1), ("basic", 3), ("basic", 1)]


def test_runs_that_have_a_device_each_do_not_train_together() -> None:
    together = Recipe(training=TrainingConfig(devices=2))
    (run,) = planned_runs(together, EMPTY.model_copy(update={"seeds": (1,)}))
    assert run.recipe.training.devices == 1


def test_the_encoder_is_named_when_there_are_several() -> None:
    runs = planned_runs(Recipe(), EMPTY.model_copy(update={"encoders": ("resnet18", "resnet34")}))
    assert [run.key for run in runs] == [
        f"Unet {name} unfrozen lr 3e-4 affine seed 0" for name in ("resnet18", "resnet34")
    ]


def test_an_empty_grid_is_refused_and_says_what_to_do() -> None:
    with pytest.raises(SettingsError, match=r"nothing to compare.*pretrain"):
        planned_runs(Recipe(), EMPTY)


def test_a_value_no_recipe_takes_is_refused() -> None:
    with pytest.raises(ValidationError, match="'basic', 'occlusion', 'affine', 'domain' or 'specialized'"):
        Grid.model_validate({"augmentations": ["sepia"]})
    with pytest.raises(ValidationError, match="greater than 0"):
        Grid(learning_rates=(0.0,))


def test_a_value_given_twice_and_a_name_no_artifact_can_have_are_refused() -> None:
    with pytest.raises(ValidationError, match="names a value twice"):
        Grid(seeds=(1, 2, 1))
    with pytest.raises(ValidationError, match="pattern"):
        Grid(name="Grid 1")


def test_short_names_leave_out_what_all_runs_share() -> None:
    keys = tuple(run.key for run in planned_runs(Recipe(), Grid(architectures=("Unet",))))
    assert list(short_names(keys).values()) == [
        f"{frozen} lr {rate}" for frozen in ("frozen", "unfrozen") for rate in ("1e-4", "3e-4", "1e-3")
    ]
    assert short_names(keys[:1]) == {keys[0]: keys[0]}
    assert short_names(("Unet seed 1", "Unet lr 1e-3 seed 1")) == {
        "Unet seed 1": "Unet seed 1",
        "Unet lr 1e-3 seed 1": "Unet lr 1e-3 seed 1",
    }


def test_no_grid_takes_the_name_of_the_last_training() -> None:
    with pytest.raises(ValidationError, match="name of the last training"):
        Grid(name="final")
