"""The backend of `plankseg predict`: the one that made the store's masks goes with the model, a clock decides last."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from plankseg import cli
from plankseg.config import InferenceConfig, SegmentConfig, settings
from plankseg.errors import StoreError
from plankseg.imaging.arrays import Grey
from plankseg.inference.backend_benchmark import BackendChoice
from plankseg.inference.backends import machine
from plankseg.pipeline.models import loading
from plankseg.pipeline.models.exported_model import ExportedModel, model_of_store, read_model
from plankseg.pipeline.prediction.prediction_model import backend_name
from plankseg.storage.store import Store
from tests.support.little_store import add_model, store_with
from tests.support.tiny_recipe import TINY

pytestmark = pytest.mark.slow
CPU = torch.device("cpu")
AUTO = TINY.model_copy(
    update={"inference": InferenceConfig(calibration_images=6, min_dice=0.0, min_rank_correlation=-1)}
)


@pytest.fixture
def store(tmp_path: Path, weights: bytes) -> Store:
    store = store_with(tmp_path, pool=8)
    add_model(store, 0, weights=weights, recipe=AUTO)
    return store


def model_with(store: Store, *recorded: tuple[str, str]) -> ExportedModel:
    """The store's model, as if these backends had been recorded: pairs of backend and machine."""
    active = store.models.active()
    assert active is not None
    model = model_of_store(store, active)
    choices = tuple(BackendChoice(backend=backend, machine=where, reason="a trial") for backend, where in recorded)  # type: ignore[arg-type]
    return ExportedModel(model.facts.model_copy(update={"backends": choices}), weights=model.weights)


def no_trial(wanted: int) -> Mapping[str, Grey]:
    raise AssertionError(f"{wanted} images were drawn for a trial")


def too_few(_: int) -> Mapping[str, Grey]:
    return {}


def test_a_machine_with_other_threads_computes_as_the_one_that_made_the_masks(store: Store) -> None:
    model = model_with(store, ("folded", "cpu: x86_64; 512 threads; torch 2.13.0"))
    assert backend_name(model, SegmentConfig(), CPU, no_trial) == "folded"


def test_what_was_recorded_here_comes_before_what_was_recorded_elsewhere(store: Store) -> None:
    model = model_with(store, ("torch", "cpu: a; 1 threads"), ("folded", machine(CPU)))
    assert backend_name(model, SegmentConfig(), CPU, no_trial) == "folded"


@pytest.mark.parametrize(
    "recorded", [("compiled", "cuda: NVIDIA H100; 16 threads"), ("openvino", "cpu: x86_64; 4 threads")]
)
def test_what_cannot_be_had_here_is_not_taken(
    store: Store, recorded: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plankseg.inference.backends.has_openvino", lambda: False)
    assert backend_name(model_with(store, recorded), SegmentConfig(), CPU, too_few) == "torch"


def test_a_backend_that_is_named_comes_first(store: Store) -> None:
    model = model_with(store, ("folded", machine(CPU)))
    assert backend_name(model, SegmentConfig(backend="torch"), CPU, no_trial) == "torch"


def test_export_settles_the_backend_that_segment_takes_later(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLANKSEG_STORE", str(store.root))
    monkeypatch.setenv("PLANKSEG_DEVICE", "cpu")
    settings.cache_clear()
    result = CliRunner().invoke(cli.app, ["export-model", str(tmp_path / "model"), "--no-onnx"])
    assert result.exit_code == 0, result.output
    (recorded,) = read_model(tmp_path / "model").facts.backends
    active = store.models.active()
    assert active is not None
    (row,) = store.backend_choices.of_model(active.model_id)
    assert BackendChoice.model_validate_json(row.record).backend == recorded.backend
    loading.clear_cache()
    settings.cache_clear()


def test_a_store_that_may_only_be_read_is_exported_without_a_backend_and_says_so(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(*_: object, **__: object) -> None:
        raise StoreError("the store cannot be written to")

    monkeypatch.setattr("plankseg.pipeline.models.backend_choice.choose_archive_backend", read_only)
    monkeypatch.setenv("PLANKSEG_STORE", str(store.root))
    settings.cache_clear()
    result = CliRunner().invoke(cli.app, ["export-model", str(tmp_path / "model"), "--no-onnx"])
    settings.cache_clear()
    assert result.exit_code == 0, result.output
    assert "the store cannot be written to" in result.output
    assert read_model(tmp_path / "model").facts.backends == ()
