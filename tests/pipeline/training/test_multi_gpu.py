"""Several processes train one network: what a step shows, what becomes of one that is killed, and too few devices."""

import json
import signal
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from pydantic import ValidationError

from plankseg.config import NetworkConfig, Recipe, Settings, TrainingConfig
from plankseg.errors import SettingsError, TrainingError
from plankseg.learning.checkpoints import EpochReport
from plankseg.learning.network.architecture import build_network
from plankseg.learning.network.torchvision_compat import timm
from plankseg.learning.process_rank import SINGLE_PROCESS, ProcessRank
from plankseg.learning.sampler import Draw, WeightedDraws
from plankseg.pipeline.training import multi_gpu
from plankseg.pipeline.training.round_training import fit
from plankseg.storage.store import Store
from plankseg.storage.tables.models import ModelRow
from tests.support.little_store import store_with
from tests.support.tiny_recipe import TINY

pytestmark = pytest.mark.slow

CPU = Settings(device="cpu")
MODULE = multi_gpu.__name__


def two(**changes: object) -> Recipe:
    """Two processes, epochs of two steps."""
    return TINY.model_copy(update={"training": TINY.training.model_copy(update={"devices": 2, "epochs": 2, **changes})})


def trained(store: Store, recipe: Recipe, reports: list[EpochReport]) -> ModelRow:
    return fit(store, recipe, CPU, round_number=0, report=reports.append)


def taking_part() -> list[psutil.Process]:
    """The processes that train now, in order of rank."""
    children = psutil.Process().children(recursive=True)
    return sorted((child for child in children if MODULE in child.cmdline()), key=lambda one: one.cmdline()[-3])


@pytest.mark.parametrize("draws", [8, 9])
def test_the_parts_of_a_step_are_together_the_step_of_one_process(draws: int) -> None:
    def drawn(process: ProcessRank) -> list[Draw]:
        return list(WeightedDraws([1.0, 2.0, 3.0], draws=draws, seed=5, first_epoch=1, process=process))

    parts = [drawn(ProcessRank(rank, 2)) for rank in (0, 1)]
    assert [draw for pair in zip(*parts, strict=True) for draw in pair] == drawn(SINGLE_PROCESS)[:8]


def test_one_killed_among_two_ends_both_and_the_next_start_ends_as_if_nothing_had_been(tmp_path: Path) -> None:
    calm, shaken = (store_with(tmp_path / name, source=6, pool=2, validation=2) for name in ("calm", "shaken"))
    recipe = two(epochs=20)  # they go on while this process hears of the first epoch
    reports: list[EpochReport] = []
    model = trained(calm, recipe, reports)
    assert [epoch.epoch for epoch in reports] == list(range(1, 21))
    assert taking_part() == []

    def kill_the_second(_: EpochReport) -> None:
        for second in taking_part()[1:]:
            second.send_signal(signal.SIGKILL)

    with pytest.raises(TrainingError, match=r"Process 2 of 2 of this training ended by signal 9.*its last whole"):
        fit(shaken, recipe, CPU, round_number=0, report=kill_the_second)
    assert taking_part() == []
    again: list[EpochReport] = []
    assert trained(shaken, recipe, again).model_id == model.model_id
    assert 0 < len(again) < 20


def test_a_network_with_a_part_that_no_mask_depends_on_trains(tmp_path: Path) -> None:
    store = store_with(tmp_path, source=6, pool=2, validation=2)
    recipe = two(epochs=1)
    network = recipe.network.model_copy(update={"encoder": "efficientnet-b0", "encoder_weights": "none"})
    reports: list[EpochReport] = []
    trained(store, recipe.model_copy(update={"network": network}), reports)
    assert np.isfinite([epoch.loss for epoch in reports]).all()


@pytest.mark.parametrize("encoder", ["resnet18", "efficientnet-b0", "tu-mobilenetv3_small_050"])
@pytest.mark.parametrize("frozen", [False, True])
def test_statistics_that_gpus_share_change_nothing_else(encoder: str, frozen: bool) -> None:
    config = NetworkConfig(encoder=encoder, encoder_weights="none", freeze_encoder=frozen)
    alone = build_network(config)
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = alone.eval()(image)
        multi_gpu = timm.layers.convert_sync_batchnorm(alone.train())
        learns = {layer.training for layer in multi_gpu.encoder.modules() if isinstance(layer, torch.nn.SyncBatchNorm)}
        answer = multi_gpu.eval()(image)
    assert torch.equal(answer, expected)
    assert learns == {not frozen}


def test_what_stops_one_is_said_in_its_own_words(tmp_path: Path) -> None:
    store = store_with(tmp_path, source=6, pool=2, validation=2)
    with pytest.raises(TrainingError, match=r"diverged in epoch 1 at a learning rate of 1e\+30"):
        trained(store, two(learning_rate=1e30), [])


def test_memory_that_runs_out_in_one_lets_all_take_their_steps_in_two_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_with(tmp_path, source=6, pool=2, validation=2)
    run_all, parts_tried = multi_gpu._run_all, []

    def short_of_memory(folder: Path, ranks: int, parts: int, report: multi_gpu.Report) -> None:
        parts_tried.append(parts)
        if parts == 1:
            told = {"type": "OutOfMemoryError", "message": "CUDA out of memory"}
            (folder / "failed-1.json").write_text(json.dumps(told))
            raise multi_gpu._failure(folder, [])
        run_all(folder, ranks, parts, report)

    monkeypatch.setattr(multi_gpu, "_run_all", short_of_memory)
    reports: list[EpochReport] = []
    trained(store, two(batch_size=8, draws_per_epoch=16), reports)
    assert parts_tried == [1, 2]
    assert np.isfinite([epoch.loss for epoch in reports]).all()


def test_too_few_gpus_are_said_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_with(tmp_path, source=6, pool=2, validation=2)
    monkeypatch.setattr(multi_gpu, "choose_device", lambda _: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(SettingsError, match=r"asks for 2 devices .* is 1 here. Set training.devices to 1"):
        trained(store, two(), [])


@pytest.mark.parametrize(("devices", "batch_size"), [(3, 16), (2, 2)])
def test_a_batch_is_shared_out_evenly_and_none_has_a_single_image(devices: int, batch_size: int) -> None:
    with pytest.raises(ValidationError, match=f"multiple of {devices} and at least {2 * devices}"):
        TrainingConfig(devices=devices, batch_size=batch_size)


def test_one_device_names_trainings_as_before_there_could_be_several() -> None:
    assert "devices" not in TrainingConfig().facts()
    assert TrainingConfig(devices=2).facts()["devices"] == 2
