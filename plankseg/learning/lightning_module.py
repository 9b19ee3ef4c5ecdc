"""The Lightning module: training step, and validation, learning rate and checkpoint at the end of an epoch."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from plankseg.config import TrainingConfig
from plankseg.errors import ScoreError, TrainingError
from plankseg.learning.checkpoints import EpochReport, State, write_checkpoint
from plankseg.learning.dataset import ValidationSet
from plankseg.learning.lightning_compat import lightning
from plankseg.learning.losses import loss_of
from plankseg.learning.metrics import ImageScores, is_clearly_better
from plankseg.learning.network.forward import Predictor
from plankseg.learning.network.memory_layout import place
from plankseg.learning.process_rank import SINGLE_PROCESS, ProcessRank
from plankseg.learning.schedule import cosine_rate

FORWARD_BATCH = 32  # images of the validation set at a time


@dataclass(frozen=True)
class ModuleSetup:
    """What a training module works with: `report` is called after each epoch, once its checkpoint is written."""

    training: TrainingConfig
    validation: ValidationSet
    share_of_corrections: Callable[[int], float]
    checkpoint: Path
    device: torch.device
    epochs: int
    draws_per_epoch: int
    report: Callable[[EpochReport], None]
    forward_batch: int = FORWARD_BATCH
    process: ProcessRank = SINGLE_PROCESS


class SegmentationModule(lightning.LightningModule):  # type: ignore[misc]
    """The recipe's loss and schedule, AdamW; kept are the weights of the epoch with the best validation Dice.

    Of a cosine they are those of the last epoch, unless an earlier one is clearly better: one at a high rate is often
    better by chance, but where the target is unlike the source, a network can unlearn it.

    The epochs of earlier runs are in `state`; a Trainer of Lightning counts its own from 0. Optimizer and plateau are
    kept here, not by Lightning, so that the checkpoint is ours and needs no pickle.
    """

    def __init__(self, network: torch.nn.Module, state: State, setup: ModuleSetup) -> None:
        super().__init__()
        training = setup.training
        self.network = place(network, setup.device)
        self.loss = loss_of(training)
        self._setup = setup
        self._state = state
        self._losses: list[float] = []
        self._drawn = 0
        self._started = time.monotonic()
        self._optimizer = self._make_optimizer()
        self._plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self._optimizer, mode="max", factor=training.plateau_factor, patience=training.plateau_patience
        )
        if state.epochs_done:
            self._optimizer.load_state_dict(state.optimizer)
            self._plateau.load_state_dict(state.plateau)

    def _make_optimizer(self) -> torch.optim.Optimizer:
        trainable = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        training = self._setup.training
        return torch.optim.AdamW(trainable, lr=training.learning_rate, weight_decay=training.weight_decay)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW over what is not frozen."""
        return self._optimizer

    @property
    def learning_rate(self) -> float:
        """The current learning rate."""
        return float(self._optimizer.param_groups[0]["lr"])

    def on_train_epoch_start(self) -> None:
        """Start the epoch's clock and its losses."""
        self._losses = []
        self._drawn = 0
        self._started = time.monotonic()

    def on_train_batch_start(self, batch: list[torch.Tensor], batch_idx: int) -> None:  # noqa: ARG002
        """Set the rate of a cosine by the share of the training's draws up to the middle of this batch."""
        if self._setup.training.schedule == "cosine":
            half = len(batch[0]) * self._setup.process.world_size / 2
            done = self._state.epochs_done + (self._drawn + half) / self._setup.draws_per_epoch
            rate = cosine_rate(self._setup.training.learning_rate, done / self._setup.epochs)
            for group in self._optimizer.param_groups:
                group["lr"] = rate
            self._drawn += int(2 * half)

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        """The loss of one batch. Raises TrainingError when it is no longer finite."""
        squares, masks = batch
        epoch = self._state.epochs_done + 1
        # dropout must not depend on what was drawn before an interruption
        seeds = [
            self._setup.training.seed,
            epoch,
            batch_idx,
            *([self._setup.process.rank] if self._setup.process.rank else []),
        ]
        words = np.random.SeedSequence(seeds).generate_state(1)
        torch.manual_seed(int(words[0]))
        loss: torch.Tensor = self.loss(self.network(squares).float(), masks)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise self._diverged(f"the loss of step {batch_idx + 1} is {value}")
        self._losses.append(value)
        return loss

    def on_train_epoch_end(self) -> None:
        """Evaluate the weights, keep them if they are the best, adapt the rate, write the checkpoint, then report.

        Of several processes the first one evaluates, writes and reports. The others take over its scores: their
        batch-norms may have seen other images, and all must have the same learning rate.
        """
        state, rate = self._state, self.learning_rate
        first = self._setup.process.rank == 0
        scores = self.trainer.strategy.broadcast(self._evaluate() if first else None)
        loss = self._mean_loss()
        weights = {name: tensor.detach().cpu().clone() for name, tensor in self.network.state_dict().items()}
        if state.scores is None or self._replaces(scores, state.scores):
            state.scores, state.best, state.best_epoch = scores, weights, state.epochs_done + 1
        if self._setup.training.schedule == "plateau":
            self._plateau.step(scores.mean_dice)
        done = EpochReport(
            epoch=state.epochs_done + 1,
            loss=loss,
            validation_dice=scores.mean_dice,
            learning_rate=rate,
            seconds=time.monotonic() - self._started,
            share_of_corrections=self._setup.share_of_corrections(state.epochs_done),
            kept_epoch=state.best_epoch,
            kept_dice=state.scores.mean_dice,
        )
        state.history.append(done)
        state.network, state.optimizer = weights, self._optimizer.state_dict()
        state.plateau = self._plateau.state_dict()
        if first:
            write_checkpoint(self._setup.checkpoint, state)
            self._setup.report(done)

    def _replaces(self, scores: ImageScores, earlier: ImageScores) -> bool:
        """Whether the epoch with these scores is kept instead of an earlier one."""
        if self._setup.training.schedule == "cosine":
            return not is_clearly_better(earlier, scores)
        return scores.mean_dice >= earlier.mean_dice  # of equal epochs the last

    def _evaluate(self) -> ImageScores:
        try:
            predictor = Predictor(
                self.network, self._setup.device, self._setup.training.precision, self._setup.forward_batch
            )
            return self._setup.validation.score(predictor)
        except ScoreError as error:
            raise self._diverged(str(error)) from error

    def _mean_loss(self) -> float:
        """Mean loss over all steps of the epoch, and over all processes."""
        mean = float(np.mean(self._losses))
        if self._setup.process.world_size == 1:
            return mean
        return float(self.trainer.strategy.reduce(torch.tensor(mean, device=self._setup.device), reduce_op="mean"))

    def _diverged(self, what: str) -> TrainingError:
        return TrainingError(
            f"The training diverged in epoch {self._state.epochs_done + 1} at a learning rate of"
            f" {self.learning_rate:g}: {what}. Lower training.learning_rate, or set training.precision to fp32."
        )
