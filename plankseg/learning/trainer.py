"""How does a network learn from masks? One training from start to best epoch, which a kill only delays."""

import hashlib
import json
import logging
import multiprocessing
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import UInt8
from torch.utils.data import DataLoader

from plankseg.config import Recipe
from plankseg.errors import TrainingError
from plankseg.imaging.arrays import Grey, Mask
from plankseg.imaging.postprocessing import PLAIN, Postprocessing
from plankseg.learning.augmentation.compositions import compose, declared_steps, needs_references
from plankseg.learning.checkpoints import EpochReport, State, checkpoint_path, read_checkpoint
from plankseg.learning.dataset import Example, Source, TrainingSquares, ValidationSet
from plankseg.learning.lightning_module import FORWARD_BATCH, SegmentationModule
from plankseg.learning.metrics import ImageScores
from plankseg.learning.network.architecture import build_network, choose_device, tensor_bytes
from plankseg.learning.network.precision import uses_bf16
from plankseg.learning.network.torchvision_compat import LightningEnvironment, lightning, timm
from plankseg.learning.oom import halving_once, part_of
from plankseg.learning.process_rank import SINGLE_PROCESS, ProcessRank
from plankseg.learning.sampler import WeightedDraws
from plankseg.learning.schedule import RoundPlan, plan_round

__all__ = ["EpochReport", "Example", "TrainedModel", "train"]


@dataclass(frozen=True)
class TrainedModel:
    """The weights of the best epoch, as safetensors, with its scores and the way there."""

    weights: bytes
    epochs: int
    side_px: int
    best_epoch: int
    history: list[EpochReport]
    scores: ImageScores
    postprocessing: Postprocessing = PLAIN


def train(
    examples: Sequence[Example],
    validation: Sequence[Example],
    *,
    load: Callable[[str], Grey],
    load_mask: Callable[[str], Mask],
    recipe: Recipe,
    round_number: int,
    start: bytes | None,
    work_dir: Path,
    device: str,
    report: Callable[[EpochReport], None],
    references: UInt8[np.ndarray, "n side side"] | None = None,
    progress: bool = False,
    process: ProcessRank = SINGLE_PROCESS,
) -> TrainedModel:
    """Train the network of a round and return its best epoch by validation Dice at native size.

    `start` is a whole model to go on from, else the recipe's encoder weights are used. `references` are images of the
    target domain in squares of the round's side, for compositions that vary images towards them. Checkpoints are
    written to `work_dir` at every epoch's end; called again with the same data and recipe, also after it was killed, it
    goes on there, and on a CPU ends with the same bytes. The caller removes `work_dir` when the model is safe.
    `process` is that of this process among several that train together: each calls this in the same way, with torch's
    process group there already, and memory that runs out is then for the caller to deal with.

    Raises:
        TrainingError: nothing to train on or to validate with, an image in both, no references where the composition
            needs some, a loss that is not finite, memory that runs out twice, or a disk that is full.
        MaskShapeError: a mask does not have its image's size.
        WeightsError: the starting weights cannot be had.
    """
    _check(examples, validation)
    where = choose_device(device)
    plan = plan_round(recipe.training, round_number)
    references = _references_for(recipe, references)
    source = Source(load, load_mask)
    composition = compose(recipe.training.augmentation, plan.side_px, references)
    squares = TrainingSquares(examples, source, composition=composition)
    judged = ValidationSet(validation, source, side_px=plan.side_px)
    shas = [*squares.mask_shas, *judged.mask_shas]
    work_dir.mkdir(parents=True, exist_ok=True)
    checkpoint = checkpoint_path(
        work_dir, _fingerprint(recipe, plan, round_number, start, references, [*examples, *validation], shas)
    )

    def attempt(parts: int) -> State:
        state = read_checkpoint(checkpoint)
        with _own_randomness(recipe.training.seed, where):
            network = build_network(recipe.network, weights=tensor_bytes(state.network) if state.epochs_done else start)
            if process.world_size > 1 and where.type == "cuda":  # on a CPU each process has its own statistics
                network = timm.layers.convert_sync_batchnorm(network)  # torch's own drops the activations of timm's
            draws = _draws(examples, recipe, round_number, state, process)
            corrected = np.array([example.is_correction for example in examples])
            learner = SegmentationModule(
                network,
                training=recipe.training,
                validation=judged,
                state=state,
                share_of_corrections=lambda epoch: float(corrected[draws.indices(epoch)].mean()),
                checkpoint=checkpoint,
                device=where,
                report=report,
                forward_batch=FORWARD_BATCH // parts,
                process=process,
            )
            if state.epochs_done < plan.epochs:
                _check_company(process, state, plan)
                loader = _loader(squares, draws, recipe, process, parts)
                left = plan.epochs - state.epochs_done
                trainer = _trainer(
                    recipe, where, left, work_dir=work_dir, progress=progress, process=process, parts=parts
                )
                trainer.fit(learner, loader)
        return state

    if process.world_size > 1:
        return _trained(attempt(process.accumulation_steps), plan)
    return _trained(halving_once(attempt, batch_size=recipe.training.batch_size), plan)


def _check(examples: Sequence[Example], validation: Sequence[Example]) -> None:
    if not examples or not validation:
        raise TrainingError(
            f"{len(examples)} images to train on and {len(validation)} to validate with: at least one of each is"
            " needed. Ingest a source with masks first."
        )
    judged = {example.image_id for example in validation}
    both = sorted(judged & {example.image_id for example in examples})
    if both or len(judged) < len(validation):
        raise TrainingError(
            f"{len(both)} images are trained on and validated with (the first: {both[:1]}), and"
            f" {len(validation) - len(judged)} are validated with twice. Take them out of one of the two lists."
        )


def _references_for(recipe: Recipe, references: np.ndarray | None) -> np.ndarray | None:
    """The references where they play a part. Raises TrainingError when they are missing."""
    name = recipe.training.augmentation
    if not needs_references(name):
        return None
    if references is None or len(references) == 0:
        raise TrainingError(
            f"The composition {name!r} varies images towards some of the target domain, and there are none. Ingest a"
            " pool, or set training.augmentation to domain."
        )
    return references


def _draws(
    examples: Sequence[Example], recipe: Recipe, round_number: int, state: State, process: ProcessRank
) -> WeightedDraws:
    words = np.random.SeedSequence([recipe.training.seed, round_number]).generate_state(1)
    return WeightedDraws(
        [example.weight for example in examples],
        draws=max(recipe.training.draws_per_epoch or len(examples), 2 * process.world_size),
        seed=int(words[0]),
        first_epoch=state.epochs_done,
        process=process,
    )


def _loader(
    squares: TrainingSquares, draws: WeightedDraws, recipe: Recipe, process: ProcessRank, parts: int
) -> DataLoader[tuple[torch.Tensor, ...]]:
    size = min(part_of(recipe.training.batch_size // process.world_size, parts), len(draws))
    workers = recipe.training.loader_workers if "fork" in multiprocessing.get_all_start_methods() else 0
    return DataLoader(
        squares,
        batch_size=size,
        sampler=draws,
        drop_last=len(draws) % size == 1,  # batch-norm has no variance in a batch of one
        num_workers=workers,
        persistent_workers=workers > 0,
        multiprocessing_context="fork" if workers else None,  # shares the squares, and `load` need not be picklable
        worker_init_fn=_stay_single_threaded,
    )


def _check_company(process: ProcessRank, state: State, plan: RoundPlan) -> None:
    """Several train together only where they have met; Lightning would run this program once more to have company."""
    if process.world_size > 1 and not torch.distributed.is_initialized():
        raise TrainingError(
            f"The {process.world_size} processes that trained together ended after {state.epochs_done} of {plan.epochs}"
            " epochs and none said why. Start the training again: it goes on from there."
        )


def _stay_single_threaded(_worker: int) -> None:
    """OpenCV's threads do not survive a fork; torch sets its own to one in every worker."""
    cv2.setNumThreads(0)


def _trainer(
    recipe: Recipe,
    device: torch.device,
    epochs: int,
    *,
    work_dir: Path,
    progress: bool,
    process: ProcessRank,
    parts: int,
) -> "lightning.Trainer":
    together = process.world_size > 1
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        # a CPU was asked for by name
        warnings.filterwarnings("ignore", ".*GPU available but not used")
        return lightning.Trainer(
            accelerator="gpu" if device.type == "cuda" else device.type,
            devices=process.world_size if together else [device.index or 0] if device.type == "cuda" else 1,
            strategy="ddp_find_unused_parameters_true" if together else "auto",  # EfficientNet's head sees no gradient
            plugins=[LightningEnvironment()] if together else None,  # whatever scheduler this machine belongs to
            precision="bf16-mixed" if uses_bf16(recipe.training.precision, device) else "32-true",
            max_epochs=epochs,
            accumulate_grad_batches=parts,
            default_root_dir=work_dir,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=progress and process.rank == 0,
            use_distributed_sampler=False,
        )


@contextmanager
def _own_randomness(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch for this training, quieten what Lightning warns of that is meant, and put both back."""
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


def _fingerprint(
    recipe: Recipe,
    plan: RoundPlan,
    round_number: int,
    start: bytes | None,
    references: np.ndarray | None,
    examples: list[Example],
    shas: list[str],
) -> str:
    """Names a training by all that its weights depend on; the number of loader processes is not part of it."""
    facts = {
        "network": recipe.network.model_dump(),
        "training": recipe.training.facts(),
        "plan": asdict(plan),
        "round": round_number,
        "start": hashlib.sha256(start).hexdigest() if start is not None else None,
        "steps": [asdict(step) for step in declared_steps(recipe.training.augmentation)],
        "references": hashlib.sha256(references.tobytes()).hexdigest() if references is not None else None,
        "examples": [[*asdict(example).values(), sha] for example, sha in zip(examples, shas, strict=True)],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _trained(state: State, plan: RoundPlan) -> TrainedModel:
    assert state.scores is not None, "a plan has at least one epoch"
    assert state.best_epoch is not None
    return TrainedModel(
        weights=tensor_bytes(state.best),
        epochs=plan.epochs,
        side_px=plan.side_px,
        best_epoch=state.best_epoch,
        history=state.history,
        scores=state.scores,
    )
