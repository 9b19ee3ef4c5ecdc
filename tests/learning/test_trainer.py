"""One training: learns, can be killed, refuses what it cannot use."""

import errno
import gc
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import plankseg
from plankseg.errors import MaskShapeError, TrainingError, WeightsError
from plankseg.imaging.framing import Framing
from plankseg.learning.dataset import ValidationSet
from plankseg.learning.lightning_module import SegmentationModule
from plankseg.learning.metrics import ImageScores
from plankseg.learning.network.architecture import build_network
from plankseg.learning.network.forward import Predictor
from plankseg.learning.sampler import WeightedDraws
from plankseg.learning.trainer import EpochReport, Example
from tests.support import tiny_training as tiny

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The tiny training from start to end, with its reports."""
    reports: list[EpochReport] = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return tiny.train_tiny(tmp_path_factory.mktemp("undisturbed"), report=reports.append), reports
    finally:
        torch.set_num_threads(threads)


def test_the_best_epoch_by_native_dice_is_kept_with_its_scores(undisturbed):
    model, reports = undisturbed
    assert reports == model.history
    assert [epoch.epoch for epoch in reports] == [1, 2, 3]
    assert (model.epochs, model.framing) == (3, Framing(32))
    dices = [epoch.validation_dice for epoch in reports]
    assert model.best_epoch == 3 - dices[::-1].index(max(dices))
    assert model.scores.mean_dice == max(dices)
    network = build_network(tiny.tiny_recipe().network, weights=model.weights)
    greys = [tiny.load(example.image_id) for example in tiny.VALIDATION]
    found = Predictor(network, torch.device("cpu")).predict(greys, Framing(32))
    for example, probability in zip(tiny.VALIDATION, found, strict=True):
        truth = tiny.load_mask(example.image_id)
        overlap = 2 * np.sum((probability >= 0.5) & truth) / (np.sum(probability >= 0.5) + truth.sum())
        assert model.scores.dice[example.image_id] == pytest.approx(overlap)


def test_the_loss_falls_and_corrections_are_drawn_by_their_weight(undisturbed):
    model, _ = undisturbed
    assert model.history[-1].loss < model.history[0].loss
    shares = [epoch.share_of_corrections for epoch in model.history]
    assert 0.4 < np.mean(shares) <= 1.0  # 20 of 26 by weight, 24 draws
    assert all(epoch.seconds > 0 and epoch.learning_rate == 1e-2 for epoch in model.history)


@pytest.mark.slow
def test_a_training_killed_after_an_epoch_ends_with_the_same_bytes(tmp_path, undisturbed):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(plankseg.__file__).parents[1])}
    command = [sys.executable, tiny.__file__, str(tmp_path), "1"]
    killed = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
    assert (killed.returncode, killed.stdout) == (-signal.SIGKILL, "1\n"), killed.stderr
    assert not (tmp_path / "weights").exists()
    resumed: list[int] = []
    model = tiny.train_tiny(tmp_path, report=lambda epoch: resumed.append(epoch.epoch))
    assert resumed == [2, 3]
    assert model.weights == undisturbed[0].weights
    assert model.scores == undisturbed[0].scores
    assert [epoch.loss for epoch in model.history] == [epoch.loss for epoch in undisturbed[0].history]


class Cut(BaseException):
    """Ends a training in the middle, as a kill would, within this process."""


def _cut_in_epoch(number: int):
    def report(epoch: EpochReport) -> None:
        if epoch.epoch == number:
            raise Cut

    return report


@pytest.mark.parametrize("cuts", [(2,), (1, 2)])
def test_a_training_cut_off_once_or_twice_ends_with_the_same_bytes(tmp_path, undisturbed, cuts):
    for epoch in cuts:
        with pytest.raises(Cut):
            tiny.train_tiny(tmp_path, report=_cut_in_epoch(epoch))
    assert tiny.train_tiny(tmp_path).weights == undisturbed[0].weights


def test_a_finished_training_run_again_trains_nothing(tmp_path, undisturbed):
    with pytest.raises(Cut):
        tiny.train_tiny(tmp_path, report=_cut_in_epoch(3))
    again: list[EpochReport] = []
    model = tiny.train_tiny(tmp_path, report=again.append)
    assert again == []
    assert model.weights == undisturbed[0].weights


def test_other_recipes_masks_and_starts_do_not_resume_here(tmp_path, undisturbed):
    with pytest.raises(Cut):
        tiny.train_tiny(tmp_path, report=_cut_in_epoch(1))

    def other_mask(image_id: str) -> np.ndarray:
        return tiny.load_mask(image_id) & (image_id != "corrected-0")

    changes = [
        {"recipe": tiny.tiny_recipe(learning_rate=2e-3)},
        {"load_mask": other_mask},
        {"start": undisturbed[0].weights},
        {"examples": tiny.EXAMPLES[:-1]},
    ]
    for change in changes:
        seen: list[int] = []
        with pytest.raises(Cut):
            tiny.train_tiny(tmp_path, **change, report=lambda e, seen=seen: (seen.append(e.epoch), _cut_in_epoch(1)(e)))
        assert seen == [1]
    seen = []
    tiny.train_tiny(tmp_path, recipe=tiny.tiny_recipe(loader_workers=1), report=lambda epoch: seen.append(epoch.epoch))
    assert seen == [2, 3]  # the number of loader processes is no part of the recipe's meaning


def test_lightning_sets_the_epoch_of_our_sampler(tmp_path, monkeypatch):
    epochs: list[int] = []
    original = WeightedDraws.set_epoch
    monkeypatch.setattr(WeightedDraws, "set_epoch", lambda self, e: (epochs.append(e), original(self, e))[1])
    tiny.train_tiny(tmp_path)
    assert epochs == [0, 1, 2]


SPECIALIZED = {"augmentation": "specialized", "epochs": 2}


def references(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(90, 200, (4, 32, 32), dtype=np.uint8)


@pytest.mark.parametrize("changes", [{}, {"references": references()[:0]}])
def test_a_composition_without_its_references_says_where_they_come_from(tmp_path, changes):
    with pytest.raises(TrainingError, match=r"'specialized' varies images.*Ingest a pool"):
        tiny.train_tiny(tmp_path, recipe=tiny.tiny_recipe(**SPECIALIZED), **changes)


def test_a_training_goes_on_only_with_the_references_it_began_with(tmp_path):
    recipe = tiny.tiny_recipe(**SPECIALIZED)
    whole = tiny.train_tiny(tmp_path / "whole", recipe=recipe, references=references())
    with pytest.raises(Cut):
        tiny.train_tiny(tmp_path, recipe=recipe, references=references(), report=_cut_in_epoch(1))
    seen: list[int] = []
    others = tiny.train_tiny(
        tmp_path, recipe=recipe, references=references(1), report=lambda epoch: seen.append(epoch.epoch)
    )
    resumed = tiny.train_tiny(
        tmp_path, recipe=recipe, references=references(), report=lambda epoch: seen.append(epoch.epoch)
    )
    assert seen == [1, 2, 2]
    assert resumed.weights == whole.weights != others.weights


def test_references_that_play_no_part_are_no_part_of_the_training(tmp_path, undisturbed):
    assert tiny.train_tiny(tmp_path, references=references()).weights == undisturbed[0].weights


@pytest.mark.parametrize("changes", [{"examples": []}, {"validation": []}])
def test_nothing_to_train_on_is_said(tmp_path, changes):
    with pytest.raises(TrainingError, match="at least one of each"):
        tiny.train_tiny(tmp_path, **changes)


def test_an_image_trained_on_is_not_validated_with(tmp_path):
    with pytest.raises(TrainingError, match=r"1 images are trained on and validated with.*source-0"):
        tiny.train_tiny(tmp_path, validation=[*tiny.VALIDATION, Example("source-0", 1.0)])


def test_a_mask_of_another_size_stops_the_training_before_its_first_step(tmp_path):
    def load_mask(image_id: str) -> np.ndarray:
        mask = tiny.load_mask(image_id)
        return mask[:, 1:] if image_id == "corrected-1" else mask

    with pytest.raises(MaskShapeError, match="corrected-1"):
        tiny.train_tiny(tmp_path, load_mask=load_mask)


def test_a_loss_that_is_not_finite_stops_the_training(tmp_path):
    with pytest.raises(TrainingError, match=r"epoch 1 at a learning rate of 1e\+30"):
        tiny.train_tiny(tmp_path, recipe=tiny.tiny_recipe(learning_rate=1e30))


def test_a_start_that_does_not_fit_is_refused(tmp_path):
    with pytest.raises(WeightsError):
        tiny.train_tiny(tmp_path, start=b"rubbish that is long enough for a header")


def test_deeplab_trains_where_one_image_is_left_over(tmp_path):
    recipe = tiny.tiny_recipe(
        architecture="DeepLabV3Plus", encoder="mobilenet_v2", epochs=1, draws_per_epoch=3, freeze_encoder=True
    )
    model = tiny.train_tiny(tmp_path, recipe=recipe)
    assert model.best_epoch == 1


def test_a_finished_training_leaves_neither_trainer_nor_optimizer_in_memory(tmp_path):
    tiny.train_tiny(tmp_path)
    kinds = {type(thing) for thing in gc.get_objects()}  # isinstance would ask some of them for an attribute
    assert [kind for kind in kinds if issubclass(kind, SegmentationModule | torch.optim.Optimizer)] == []


def test_the_surroundings_are_left_as_they_were(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    tiny.train_tiny(tmp_path / "work", recipe=tiny.tiny_recipe(epochs=1))
    assert torch.equal(torch.rand(3), expected)
    assert [path.name for path in tmp_path.iterdir()] == ["work"]
    assert len(list((tmp_path / "work").iterdir())) == 1


def _memory_runs_out(monkeypatch, *, at: list[int], error: type[RuntimeError] = torch.OutOfMemoryError) -> list[int]:
    """Let the steps of these numbers, counted over all attempts, fail; the sizes of all steps are kept."""
    sizes: list[int] = []
    original = SegmentationModule.training_step

    def training_step(self, batch, batch_idx):
        sizes.append(len(batch[0]))
        if len(sizes) in at:
            raise error("CUDA out of memory. Tried to allocate 3.00 GiB.")
        return original(self, batch, batch_idx)

    monkeypatch.setattr(SegmentationModule, "training_step", training_step)
    return sizes


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError])
def test_memory_that_runs_out_once_halves_the_images_at_a_time_and_says_so(tmp_path, monkeypatch, caplog, error):
    sizes = _memory_runs_out(monkeypatch, at=[3], error=error)
    steps: list[int] = []
    original = torch.optim.AdamW.step
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self, *a, **k: (steps.append(1), original(self, *a, **k))[1])
    with caplog.at_level(logging.WARNING):
        model = tiny.train_tiny(tmp_path, recipe=tiny.tiny_recipe(batch_size=4, draws_per_epoch=8, epochs=2))
    # two steps of four an epoch: the third, in epoch 2, fails, and that epoch is taken again in halves
    assert sizes == [4, 4, 4, 2, 2, 2, 2]
    assert len(steps) == 2 + 1 + 2  # the optimizer asks for the loss, so the failing step was begun too
    assert [epoch.epoch for epoch in model.history] == [1, 2]
    assert "at 4 images a step (CUDA out of memory" in caplog.text
    assert "with 2 images at a time, in two parts a step" in caplog.text


def test_memory_that_runs_out_twice_ends_the_training_with_the_next_step(tmp_path, monkeypatch):
    sizes = _memory_runs_out(monkeypatch, at=[2, 3])
    recipe = tiny.tiny_recipe(batch_size=4, draws_per_epoch=8)
    with pytest.raises(TrainingError, match=r"even at 2 images at a time: CUDA out of memory.*Lower training"):
        tiny.train_tiny(tmp_path, recipe=recipe)
    assert sizes == [4, 4, 2]


def test_two_images_a_step_are_not_halved(tmp_path, monkeypatch):
    sizes = _memory_runs_out(monkeypatch, at=[1])
    with pytest.raises(TrainingError, match="even at 2 images"):
        tiny.train_tiny(tmp_path)
    assert sizes == [2]


def test_other_errors_of_torch_are_not_taken_for_a_lack_of_memory(tmp_path, monkeypatch):
    def training_step(self, batch, batch_idx):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(SegmentationModule, "training_step", training_step)
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        tiny.train_tiny(tmp_path)


def test_a_full_disk_stops_the_training_and_it_goes_on_when_there_is_space(tmp_path, monkeypatch, undisturbed):
    written: list[int] = []
    original = os.fsync

    def fsync(descriptor: int) -> None:
        written.append(descriptor)
        if len(written) == 3:  # a checkpoint syncs its file, then its folder: this is the second one's file
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        original(descriptor)

    seen: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(TrainingError, match=r"after epoch 2 \(.* MB\) cannot be written to .*No space left"):
            tiny.train_tiny(tmp_path, report=lambda epoch: seen.append(epoch.epoch))
    assert seen == [1]  # an epoch that is not safe is not reported
    assert len(list(tmp_path.iterdir())) == 1  # the half file is gone, the checkpoint of epoch 1 is there
    model = tiny.train_tiny(tmp_path, report=lambda epoch: seen.append(epoch.epoch))
    assert seen == [1, 2, 3]
    assert model.weights == undisturbed[0].weights


def test_images_at_their_own_scale_train_in_batches_of_one_side_and_resume_to_the_last_bit(tmp_path: Path):
    recipe = tiny.tiny_recipe(side_px=128, largest_zoom=2.5)
    whole = tiny.train_tiny(tmp_path / "whole", recipe)
    assert whole.framing == Framing(128, 2.5)
    assert len({whole.framing.letterbox(tiny.load(e.image_id).shape).side for e in tiny.EXAMPLES}) == 2

    def stop(epoch: EpochReport) -> None:
        if epoch.epoch == 2:
            raise InterruptedError("killed")

    with pytest.raises(InterruptedError, match="killed"):
        tiny.train_tiny(tmp_path / "stopped", recipe, report=stop)
    resumed = tiny.train_tiny(tmp_path / "stopped", recipe)
    assert resumed.weights == whole.weights
    assert [epoch.validation_dice for epoch in resumed.history] == [epoch.validation_dice for epoch in whole.history]


def test_style_references_are_made_for_every_side(tmp_path: Path):
    recipe = tiny.tiny_recipe(side_px=128, largest_zoom=2.5, epochs=1, augmentation="specialized")
    references = np.stack([Framing(128).letterbox(tiny.load(i).shape).apply(tiny.load(i)) for i in ("a", "b")])
    assert tiny.train_tiny(tmp_path, recipe, references=references).epochs == 1


@pytest.mark.parametrize(("schedule", "images", "kept"), [("cosine", 12, 1), ("cosine", 2, 3), ("plateau", 2, 1)])
def test_a_cosine_keeps_an_earlier_epoch_only_where_it_is_clearly_better(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, schedule: str, images: int, kept: int
):
    falling = iter([0.9, 0.6, 0.5])

    def score(*_: object) -> ImageScores:
        mean = next(falling)
        return ImageScores({f"image {n}": mean + n / 1000 for n in range(images)}, {})

    monkeypatch.setattr(ValidationSet, "score", score)
    trained = tiny.train_tiny(tmp_path, tiny.tiny_recipe(schedule=schedule))
    assert (trained.best_epoch, trained.scores.mean_dice >= 0.9) == (kept, kept == 1)


@pytest.mark.parametrize("zoom", [None, 2.5])
def test_a_cosine_falls_to_nothing_and_resumes_where_it_was(tmp_path: Path, zoom: float | None):
    recipe = tiny.tiny_recipe(side_px=128, schedule="cosine", loss="dice_bce", largest_zoom=zoom)
    whole = tiny.train_tiny(tmp_path / "whole", recipe)
    rates = [epoch.learning_rate for epoch in whole.history]
    assert 1e-2 > rates[0] > rates[1] > rates[2] > 0
    assert whole.best_epoch == 3
    assert whole.scores.mean_dice == whole.history[-1].validation_dice
    assert rates[2] < 1e-3
    assert whole.history[-1].loss < whole.history[0].loss

    def stop(epoch: EpochReport) -> None:
        if epoch.epoch == 1:
            raise InterruptedError("killed")

    with pytest.raises(InterruptedError, match="killed"):
        tiny.train_tiny(tmp_path / "stopped", recipe, report=stop)
    assert tiny.train_tiny(tmp_path / "stopped", recipe).weights == whole.weights
