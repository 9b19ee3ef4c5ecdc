"""Checkpoints of a training: everything the next epoch depends on, in one file, written at the end of every epoch.

The file is a SHA-256 of the rest, then safetensors (numbers and texts, as JSON, are one of the tensors): reading it
runs no code, and a damaged or foreign file is recognised and not used.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from plankseg.errors import TrainingError
from plankseg.files import atomic_file
from plankseg.learning.metrics import ImageScores
from plankseg.learning.network.architecture import tensor_bytes

_FACTS = "facts"
_HASH_BYTES = 32
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EpochReport:
    """One epoch: the mean loss, Dice of the validation images at native size, and how it was reached.

    `learning_rate` is the one the epoch was trained with, `seconds` its wall time with validation. `kept_epoch` and
    `kept_dice` are those of the weights that the training would return now; None in earlier checkpoints.
    """

    epoch: int
    loss: float
    validation_dice: float
    learning_rate: float
    seconds: float
    share_of_corrections: float
    kept_epoch: int | None = None
    kept_dice: float | None = None


@dataclass
class State:
    """The state of a training after its last whole epoch. `best` are the weights of the best epoch so far."""

    history: list[EpochReport] = field(default_factory=list)
    best_epoch: int | None = None
    scores: ImageScores | None = None
    best: dict[str, torch.Tensor] = field(default_factory=dict)
    network: dict[str, torch.Tensor] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    plateau: dict[str, Any] = field(default_factory=dict)

    @property
    def epochs_done(self) -> int:
        """Whole epochs, counted over interruptions."""
        return len(self.history)


def checkpoint_path(work_dir: Path, fingerprint: str) -> Path:
    """The file of one training: another recipe or other data have another fingerprint and so another file."""
    return work_dir / f"training-{fingerprint[:32]}.checkpoint"


def write_checkpoint(path: Path, state: State) -> None:
    """Replace the checkpoint as a whole: whoever reads it sees the old one or the new one.

    Raises TrainingError, and keeps the old one, when it cannot be written.
    """
    tensors = {f"network/{name}": tensor for name, tensor in state.network.items()}
    if state.best_epoch != state.epochs_done:  # else the best weights are these
        tensors |= {f"best/{name}": tensor for name, tensor in state.best.items()}
    for number, moments in state.optimizer["state"].items():
        tensors |= {f"optimizer/{number}/{name}": tensor for name, tensor in moments.items()}
    facts = {
        "history": [asdict(epoch) for epoch in state.history],
        "best_epoch": state.best_epoch,
        "scores": asdict(state.scores) if state.scores else None,
        "groups": state.optimizer["param_groups"],
        "plateau": state.plateau,
    }
    tensors[_FACTS] = torch.frombuffer(bytearray(json.dumps(facts).encode()), dtype=torch.uint8)
    data = tensor_bytes(tensors)
    try:
        with atomic_file(path, sole_writer=True) as partial, partial.open("wb") as file:
            file.write(hashlib.sha256(data).digest())
            file.write(data)
    except OSError as error:
        raise TrainingError(
            f"The checkpoint after epoch {state.epochs_done} ({len(data) / 1e6:.1f} MB) cannot be written to"
            f" {path.parent}: {error.strerror or error}. Free some space or check the rights, and start the training"
            " again: it goes on after the epoch before."
        ) from error


def read_checkpoint(path: Path) -> State:
    """The state of the training; a new State where there is no checkpoint, or (with a warning) a damaged one."""
    if not path.is_file():
        return State()
    content = path.read_bytes()
    digest, data = content[:_HASH_BYTES], content[_HASH_BYTES:]
    if hashlib.sha256(data).digest() != digest:
        log.warning("Checkpoint %s is damaged and is not used; the training starts from its first epoch.", path)
        return State()
    tensors: dict[str, torch.Tensor] = safetensors.torch.load(data)
    facts = json.loads(tensors[_FACTS].numpy().tobytes())
    network = _under("network/", tensors)
    return State(
        history=[EpochReport(**epoch) for epoch in facts["history"]],
        best_epoch=facts["best_epoch"],
        scores=ImageScores(**facts["scores"]),
        best=_under("best/", tensors) or network,
        network=network,
        optimizer={"state": _moments(_under("optimizer/", tensors)), "param_groups": facts["groups"]},
        plateau=facts["plateau"],
    )


def _under(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _moments(tensors: Mapping[str, torch.Tensor]) -> dict[int, dict[str, torch.Tensor]]:
    """AdamW's moments per parameter, as torch numbers them."""
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        number, _, moment = name.partition("/")
        moments.setdefault(int(number), {})[moment] = tensor
    return moments
