"""What does a network see in an image? Probabilities at the image's own size, without test-time views."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from plankseg.errors import ScoreError
from plankseg.imaging.letterbox import Letterbox
from plankseg.learning.network.precision import Precision, autocast
from plankseg.learning.network.preprocessing import batch_tensor


def predict(
    network: torch.nn.Module,
    greys: Sequence[UInt8[np.ndarray, "_ _"]],
    *,
    side_px: int,
    device: torch.device,
    precision: Precision = "auto",
    forward_batch: int = 32,
) -> list[Float32[np.ndarray, "_ _"]]:
    """One probability map per image, float32, 0 to 1, at the image's own size. The network is on `device`.

    Raises ScoreError when the network answers with something that is not a number.
    """
    found: list[np.ndarray] = []
    for first in range(0, len(greys), forward_batch):
        part = greys[first : first + forward_batch]
        letterboxes = [Letterbox.of(grey.shape, side_px) for grey in part]
        squares = np.stack([letterbox.apply(grey) for letterbox, grey in zip(letterboxes, part, strict=True)])
        answers = square_probabilities(network, squares, device=device, precision=precision)
        found += [letterbox.undo(answer) for letterbox, answer in zip(letterboxes, answers, strict=True)]
    return found


def square_probabilities(
    network: torch.nn.Module,
    squares: UInt8[np.ndarray, "n side side"],
    *,
    device: torch.device,
    precision: Precision = "auto",
) -> Float32[np.ndarray, "n side side"]:
    """One forward pass over letterboxed squares. Raises ScoreError when an answer is not a number."""
    with evaluating(network), torch.inference_mode(), autocast(precision, device):
        logits = network(batch_tensor(squares).to(device))
        found = torch.sigmoid(logits[:, 0].float()).cpu().numpy()
    if not np.isfinite(found).all():
        raise ScoreError(
            "The network answers with values that are not numbers: its weights are spoilt. Train it again."
        )
    return np.asarray(found)


@contextmanager
def evaluating(network: torch.nn.Module) -> Iterator[None]:
    """Batch-norm and dropout as in use, and afterwards as before."""
    was_training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(was_training)
