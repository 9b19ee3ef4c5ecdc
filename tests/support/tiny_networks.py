"""Networks of two layers or of one function, and noise images of odd sizes to ask them about."""

from collections.abc import Callable

import numpy as np
import torch

SIDE = 32
SHAPES = [(20, 50), (32, 32), (61, 17), (5, 90), (33, 40), (12, 12), (70, 64)]


def pictures() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {f"image-{n}": rng.integers(0, 256, shape, dtype=np.uint8) for n, shape in enumerate(SHAPES)}


def tiny_network() -> torch.nn.Module:
    """Asymmetric, with the batch-norm that would betray training mode."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return torch.nn.Sequential(
            torch.nn.Conv2d(3, 6, 5, padding=2),
            torch.nn.BatchNorm2d(6),
            torch.nn.ReLU(),
            torch.nn.Conv2d(6, 1, 5, padding=2),
        )


class Function(torch.nn.Module):
    """A network made of one function, which remembers the sizes of its batches."""

    def __init__(self, answer: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.answer = answer
        self.batches: list[int] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.batches.append(len(x))
        return self.answer(x)
