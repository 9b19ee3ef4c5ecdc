"""Forward passes of a network in evaluation mode: probabilities at the images' own sizes, one view per image."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from plankseg.errors import ScoreError
from plankseg.imaging.framing import Framing, grouped_by_side
from plankseg.imaging.letterbox import Letterbox
from plankseg.learning.network.precision import Precision, autocast
from plankseg.learning.network.preprocessing import batch_tensor


@dataclass(frozen=True)
class Predictor:
    """A network on a device, and how it is computed there; `forward_batch` squares share a forward pass."""

    network: torch.nn.Module
    device: torch.device
    precision: Precision = "auto"
    forward_batch: int = 32

    def predict(self, greys: Sequence[UInt8[np.ndarray, "_ _"]], framing: Framing) -> list[Float32[np.ndarray, "_ _"]]:
        """One probability map per image, 0 to 1, at the image's own size. Raises as `square_probabilities`."""
        letterboxes = [framing.letterbox(grey.shape) for grey in greys]
        squares = [letterbox.apply(grey) for letterbox, grey in zip(letterboxes, greys, strict=True)]
        return self.predict_squares(squares, letterboxes)

    def predict_squares(
        self, squares: Sequence[UInt8[np.ndarray, "_ _"]], letterboxes: Sequence[Letterbox]
    ) -> list[Float32[np.ndarray, "_ _"]]:
        """The same for images that are in their squares already."""
        answers: dict[int, Float32[np.ndarray, "_ _"]] = {}
        for indices in grouped_by_side(letterboxes, lambda _: self.forward_batch):
            group = self.square_probabilities(np.stack([squares[index] for index in indices]))
            for index, answer in zip(indices, group, strict=True):
                answers[index] = letterboxes[index].undo(answer)
        return [answers[index] for index in range(len(letterboxes))]

    def square_probabilities(self, squares: UInt8[np.ndarray, "n side side"]) -> Float32[np.ndarray, "n side side"]:
        """One forward pass over letterboxed squares. Raises ScoreError when an answer is not a number."""
        with evaluation_mode(self.network), torch.inference_mode(), autocast(self.precision, self.device):
            logits = self.network(batch_tensor(squares).to(self.device))
            probabilities = torch.sigmoid(logits[:, 0].float()).cpu().numpy()
        if not np.isfinite(probabilities).all():
            raise ScoreError(
                "The network answers with values that are not numbers: its weights are damaged. Train it again."
            )
        return np.asarray(probabilities)


@contextmanager
def evaluation_mode(network: torch.nn.Module) -> Iterator[None]:
    """Batch-norm and dropout in evaluation mode; afterwards every module is in the mode it was in.

    In training mode batch-norm would make an answer depend on the other squares of the forward pass.
    """
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, was_training in modes:
            module.training = was_training  # not .train(): it would also switch the batch-norm of a frozen encoder
