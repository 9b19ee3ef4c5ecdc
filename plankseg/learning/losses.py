"""Losses of a recipe: the published Tversky loss, or Dice and cross-entropy in equal parts."""

from collections.abc import Callable

import torch

from plankseg.config import TrainingConfig
from plankseg.learning.network.torchvision_compat import smp

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Logits and masks, both float32 (n, 1, h, w), to one number."""


def loss_of(training: TrainingConfig) -> Loss:
    """The recipe's loss. Overlap is counted over the whole batch, so that an empty mask is no case of its own."""
    if training.loss == "tversky":
        tversky: Loss = smp.losses.TverskyLoss("binary", alpha=training.alpha_fp, beta=training.beta_fn)
        return tversky
    overlap = smp.losses.TverskyLoss("binary", alpha=0.5, beta=0.5)  # this is Dice

    def dice_bce(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        crossed = torch.nn.functional.binary_cross_entropy_with_logits(logits, masks)
        return (overlap(logits, masks) + crossed) / 2

    return dice_bce
