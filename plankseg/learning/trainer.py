"""One training of a network, from start to best epoch; a training that was killed resumes at its last epoch."""

import hashlib
import json
import logging
import multiprocessing
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import UInt8
from torch.utils.data import DataLoader

from plankseg.config import Recipe
from plankseg.errors import TrainingError
from plankseg.imaging.framing import Framing
from plankseg.imaging.postprocessing import PLAIN, Postprocessing
from plankseg.learning.augmentation.compositions import compose, declared_steps, needs_references
from plankseg.learning.checkpoints import EpochReport, State, checkpoint_path, read_checkpoint
from plankseg.learning.dataset import Example, Source, TrainingSquares, ValidationSet
from plankseg.learning.lightning_compat import LightningEnvironment, lightning
from plankseg.learning.lightning_module import FORWARD_BATCH, ModuleSetup, SegmentationModule
from plankseg.learning.metrics import ImageScores
from plankseg.learning.network.architecture import build_network, choose_device, tensor_bytes
from plankseg.learning.network.precision import uses_bf16
from plankseg.learning.network.torchvision_compat import timm
from plankseg.learning.oom import free_memory, halving_once, part_of
from plankseg.learning.process_rank import SINGLE_PROCESS, ProcessRank
from plankseg.learning.sampler import SideBatches, WeightedDraws
from plankseg.learning.schedule import RoundPlan, plan_round

__all__ = ["EpochReport", "Example", "Execution", "Source", "TrainedModel", "TrainingTask", "train"]


@dataclass(frozen=True)
class TrainedModel:
    """The weights of the best epoch, as safetensors, with its scores and the history of epochs."""

    weights: bytes
    epochs: int
    framing: Framing
    best_epoch: int
    history: list[EpochReport]
    scores: ImageScores
    postprocessing: Postprocessing = PLAIN


@dataclass(frozen=True)
class TrainingTask:
    """Everything the weights of a training depend on.

    `start` is a whole model to start from, else the recipe's encoder weights are used. `references` are images of the
    target domain in squares of the round's side, for compositions that vary images towards them.
    """

    examples: Sequence[Example]
    validation: Sequence[Example]
    source: Source
    recipe: Recipe
    round_number: int
    start: bytes | None = None
    references: UInt8[np.ndarray, "n side side"] | None = None


@dataclass(frozen=True)
class Execution:
    """Where and how a training runs; its weights do not depend on this, except on the kind of the device.

    Checkpoints are written to `work_dir`, which the caller removes when the model is stored. `process` is the rank of
    this process among several: each calls `train` in the same way, with torch's process group initialised, and the
    caller then handles a lack of memory.
    """

    work_dir: Path
    device: str
    process: ProcessRank = SINGLE_PROCESS
    progress: bool = False


def train(
    task: TrainingTask, execution: Execution, *, report: Callable[[EpochReport], None] = lambda _: None
) -> TrainedModel:
    """Train the network of a round and return its best epoch by validation Dice at native size.

    A checkpoint is written at every epoch's end. Called again with the same task, also after it was killed, the
    training resumes there, and on a CPU ends with the same bytes.

    Raises:
        TrainingError: nothing to train on or to validate with, an image in both, no references where the composition
            needs some, a loss that is not finite, memory that runs out twice, or a disk that is full.
        MaskShapeError: a mask does not have its image's size.
        WeightsError: the starting weights cannot be had.
    """
    _check(task.examples, task.validation)
    training = _Training(task, execution, report)
    if execution.process.world_size > 1:
        state = training.attempt(execution.process.accumulation_steps)
    else:
        state = halving_once(training.attempt, batch_size=task.recipe.training.batch_size)
    free_memory()  # else the next training of this process begins beside this one's
    return _trained(state, training.plan)


class _Training:
    """A training whose images are read; `attempt` runs or resumes it."""

    def __init__(self, task: TrainingTask, execution: Execution, report: Callable[[EpochReport], None]) -> None:
        self._task, self._execution, self._report = task, execution, report
        self._device = choose_device(execution.device)
        self._config = task.recipe.training
        self.plan = plan_round(self._config, task.round_number)
        references = _references_for(task.recipe, task.references)
        framing, name = self.plan.framing, self._config.augmentation
        compositions = {side: compose(name, side, _resized(references, side)) for side in framing.sides}
        self._squares = TrainingSquares(
            task.examples,
            task.source,
            framing=framing,
            compositions=compositions,
            neighbour_share=self._config.neighbour_share,
        )
        self._validation = ValidationSet(task.validation, task.source, framing=framing)
        execution.work_dir.mkdir(parents=True, exist_ok=True)
        mask_shas = [*self._squares.mask_shas, *self._validation.mask_shas]
        self._checkpoint = checkpoint_path(
            execution.work_dir, _fingerprint(replace(task, references=references), self.plan, mask_shas)
        )

    def attempt(self, parts: int) -> State:
        """Train from the last checkpoint to the last epoch, each step in so many parts."""
        state = read_checkpoint(self._checkpoint)
        process, task = self._execution.process, self._task
        with _seeded(self._config.seed, self._device):
            weights = tensor_bytes(state.network) if state.epochs_done else task.start
            network = build_network(task.recipe.network, weights=weights)
            if process.world_size > 1 and self._device.type == "cuda":  # on a CPU each process has its own statistics
                network = timm.layers.convert_sync_batchnorm(network)  # torch's own drops the activations of timm's
            draws = _draws(task, state, process)
            corrected = np.array([example.is_correction for example in task.examples])
            setup = ModuleSetup(
                training=self._config,
                validation=self._validation,
                share_of_corrections=lambda epoch: float(corrected[draws.indices(epoch)].mean()),
                checkpoint=self._checkpoint,
                device=self._device,
                epochs=self.plan.epochs,
                draws_per_epoch=draws.draws,
                report=self._report,
                forward_batch=FORWARD_BATCH // parts,
                process=process,
            )
            module = SegmentationModule(network, state, setup)
            if state.epochs_done < self.plan.epochs:
                _check_process_group(process, state, self.plan)
                loader = _loader(self._squares, draws, task.recipe, process, parts)
                self._trainer(self.plan.epochs - state.epochs_done, parts).fit(module, loader)
        return state

    def _trainer(self, epochs: int, parts: int) -> "lightning.Trainer":
        device, process = self._device, self._execution.process
        is_distributed = process.world_size > 1
        logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
        with warnings.catch_warnings():
            # a CPU was asked for by name
            warnings.filterwarnings("ignore", ".*GPU available but not used")
            return lightning.Trainer(
                accelerator="gpu" if device.type == "cuda" else device.type,
                devices=process.world_size if is_distributed else [device.index or 0] if device.type == "cuda" else 1,
                # EfficientNet's head sees no gradient
                strategy="ddp_find_unused_parameters_true" if is_distributed else "auto",
                plugins=[LightningEnvironment()] if is_distributed else None,  # whatever scheduler this machine has
                precision="bf16-mixed" if uses_bf16(self._config.precision, device) else "32-true",
                max_epochs=epochs,
                accumulate_grad_batches=parts,
                default_root_dir=self._execution.work_dir,
                logger=False,
                enable_checkpointing=False,
                enable_model_summary=False,
                enable_progress_bar=self._execution.progress and process.rank == 0,
                use_distributed_sampler=False,
            )


def _check(examples: Sequence[Example], validation: Sequence[Example]) -> None:
    if not examples or not validation:
        raise TrainingError(
            f"{len(examples)} images to train on and {len(validation)} to validate with: at least one of each is"
            " needed. Ingest a source with masks first."
        )
    validation_ids = {example.image_id for example in validation}
    both = sorted(validation_ids & {example.image_id for example in examples})
    if both or len(validation_ids) < len(validation):
        raise TrainingError(
            f"{len(both)} images are trained on and validated with (the first: {both[:1]}), and"
            f" {len(validation) - len(validation_ids)} are validated with twice. Take them out of one of the two lists."
        )


def _references_for(recipe: Recipe, references: np.ndarray | None) -> np.ndarray | None:
    """The references, where the augmentation uses them. Raises TrainingError when they are missing."""
    name = recipe.training.augmentation
    if not needs_references(name):
        return None
    if references is None or len(references) == 0:
        raise TrainingError(
            f"The composition {name!r} varies images towards some of the target domain, and there are none. Ingest a"
            " pool, or set training.augmentation to domain."
        )
    return references


def _resized(references: np.ndarray | None, side_px: int) -> np.ndarray | None:
    """The references in squares of another side."""
    if references is None or references.shape[1] == side_px:
        return references
    return np.stack([cv2.resize(square, (side_px, side_px), interpolation=cv2.INTER_AREA) for square in references])


def _draws(task: TrainingTask, state: State, process: ProcessRank) -> WeightedDraws:
    training = task.recipe.training
    words = np.random.SeedSequence([training.seed, task.round_number]).generate_state(1)
    return WeightedDraws(
        [example.weight for example in task.examples],
        draws=max(training.draws_per_epoch or len(task.examples), 2 * process.world_size),
        seed=int(words[0]),
        first_epoch=state.epochs_done,
        process=process,
    )


def _loader(
    squares: TrainingSquares, draws: WeightedDraws, recipe: Recipe, process: ProcessRank, parts: int
) -> DataLoader[tuple[torch.Tensor, ...]]:
    size = min(part_of(recipe.training.batch_size // process.world_size, parts), len(draws))
    workers = recipe.training.loader_workers if "fork" in multiprocessing.get_all_start_methods() else 0
    batches: dict[str, Any]
    if len(set(squares.sides)) > 1:
        batches = {"batch_sampler": SideBatches(draws, squares.sides, size=size, process=process)}
    else:  # batch-norm has no variance in a batch of one
        batches = {"batch_size": size, "sampler": draws, "drop_last": len(draws) % size == 1}
    return DataLoader(
        squares,
        **batches,
        num_workers=workers,
        persistent_workers=workers > 0,
        multiprocessing_context="fork" if workers else None,  # shares the squares, and `load` need not be picklable
        worker_init_fn=_prepare_worker,
    )


def _check_process_group(process: ProcessRank, state: State, plan: RoundPlan) -> None:
    """Several processes need torch's process group; without it Lightning would start this program once more itself."""
    if process.world_size > 1 and not torch.distributed.is_initialized():
        raise TrainingError(
            f"The {process.world_size} processes of this training ended after {state.epochs_done} of {plan.epochs}"
            " epochs without an error message. Start the training again: it resumes there."
        )


def _prepare_worker(_worker: int) -> None:
    """One thread of OpenCV, whose threads do not survive a fork, and an end without the exit handlers of the parent.

    Those of Prefect wait for a thread that a forked worker does not have: it would end with an error.
    """
    cv2.setNumThreads(0)
    Finalize(None, os._exit, args=(0,), exitpriority=-100)  # after multiprocessing's own


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch for this training and silence warnings about what is intended; afterwards both are restored."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices), warnings.catch_warnings():
        # small squares come from memory: more loader processes than asked for would not help
        warnings.filterwarnings("ignore", ".*does not have many workers")
        # a frozen encoder is meant to stay in eval mode
        warnings.filterwarnings("ignore", ".*module\\(s\\) in eval mode at the start of training")
        # lightning 2.6 beside torch 2.13
        warnings.filterwarnings("ignore", ".*isinstance\\(treespec, LeafSpec\\)", FutureWarning)
        torch.manual_seed(seed)
        yield


def _fingerprint(task: TrainingTask, plan: RoundPlan, mask_shas: Sequence[str]) -> str:
    """A hash of everything the weights depend on; the number of loader processes is not part of it."""
    recipe, start, references = task.recipe, task.start, task.references
    examples = zip([*task.examples, *task.validation], mask_shas, strict=True)
    facts = {
        "network": recipe.network.model_dump(),
        "training": recipe.training.facts(),
        "plan": {name: value for name, value in asdict(plan).items() if value is not None},
        "round": task.round_number,
        "start": hashlib.sha256(start).hexdigest() if start is not None else None,
        "steps": [asdict(step) for step in declared_steps(recipe.training.augmentation)],
        "references": hashlib.sha256(references.tobytes()).hexdigest() if references is not None else None,
        "examples": [[*asdict(example).values(), sha] for example, sha in examples],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _trained(state: State, plan: RoundPlan) -> TrainedModel:
    assert state.scores is not None, "a plan has at least one epoch"
    assert state.best_epoch is not None
    return TrainedModel(
        weights=tensor_bytes(state.best),
        epochs=plan.epochs,
        framing=plan.framing,
        best_epoch=state.best_epoch,
        history=state.history,
        scores=state.scores,
    )
