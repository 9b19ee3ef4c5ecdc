"""Knobs: what they are unless set, where they come from, what is refused."""

from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from plankseg.config import NetworkConfig, QueryConfig, Recipe, Settings, TrainingConfig, settings
from plankseg.errors import SettingsError


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No variables and no .env of the machine the tests run on."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"PLANKSEG_{name.upper()}", raising=False)
    monkeypatch.chdir(tmp_path)
    settings.cache_clear()


@pytest.fixture(autouse=True, scope="module")
def forget_afterwards() -> object:
    yield
    settings.cache_clear()


def test_the_published_numbers_are_the_defaults() -> None:
    recipe = Recipe()
    assert (recipe.training.alpha_fp, recipe.training.beta_fn, recipe.training.correction_weight) == (0.7, 0.3, 10.0)
    assert (recipe.training.side_px, recipe.training.grow_from_round) == (256, 3)
    assert (recipe.training.epochs_per_round, recipe.training.side_px_per_round) == (2, 16)
    assert (recipe.query.batch_size, recipe.query.batches, recipe.query.mode) == (20, 50, "draws")
    assert recipe.network.encoder == "resnet34"


def test_a_recipe_survives_its_json() -> None:
    recipe = Recipe(query=QueryConfig(batches=3), training=TrainingConfig(side_px=64))
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe


def test_a_recipe_cannot_be_changed_and_knows_its_names() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Recipe().training.epochs = 3
    with pytest.raises(ValidationError, match="epocs"):
        Recipe.model_validate({"training": {"epocs": 3}})


@pytest.mark.parametrize(
    ("model", "field", "value"),
    [
        (TrainingConfig, "side_px", 40),
        (TrainingConfig, "epochs", 0),
        (TrainingConfig, "batch_size", 1),
        (TrainingConfig, "holdout_fraction", 0.0),
        (TrainingConfig, "correction_weight", 0),
        (QueryConfig, "batch_size", 0),
        (QueryConfig, "selector", "best"),
        (NetworkConfig, "architecture", "SegFormer"),
    ],
)
def test_values_that_cannot_work_are_refused(model: type[BaseModel], field: str, value: object) -> None:
    with pytest.raises(ValidationError, match=field):
        model.model_validate({field: value})


def test_every_knob_is_explained_for_the_run_form() -> None:
    for model in (NetworkConfig, TrainingConfig, QueryConfig, Settings):
        assert [name for name, field in model.model_fields.items() if not field.description] == []


def test_settings_come_from_the_environment_before_the_dot_env_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("PLANKSEG_STORE=from-file\nPLANKSEG_PROJECT=from-file\nPLANKSEG_UNKNOWN=1\nOTHER=2\n")
    monkeypatch.setenv("PLANKSEG_STORE", "from-environment")
    found = settings()
    assert (found.store, found.project) == ("from-environment", "from-file")
    assert settings() is found


def test_the_token_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANKSEG_LABEL_STUDIO_TOKEN", "very secret")
    found = Settings()
    assert found.label_studio_token is not None
    assert found.label_studio_token.get_secret_value() == "very secret"
    assert "very secret" not in repr(found)
    assert "very secret" not in found.model_dump_json()


def test_the_store_stays_where_it_was_when_the_directory_changes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert Settings().store_location == str(tmp_path.resolve() / "plankseg-store")
    monkeypatch.setenv("HOME", "/somewhere")
    assert Settings(store="~/plankton").store_location == "/somewhere/plankton"
    assert Settings(store="s3://bucket/plankton").store_location == "s3://bucket/plankton"


def test_a_variable_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANKSEG_MAX_IMAGE_PIXELS", "many")
    with pytest.raises(SettingsError, match="PLANKSEG_MAX_IMAGE_PIXELS='many'"):
        settings()


def test_fields_are_titled_in_words_with_their_unit() -> None:
    properties = Recipe.model_json_schema()["$defs"]["TrainingConfig"]["properties"]
    assert properties["side_px"]["title"] == "Side (px)"
    assert properties["side_px_per_round"]["title"] == "Side added per round (px)"
    assert properties["learning_rate"]["title"] == "Learning rate"
