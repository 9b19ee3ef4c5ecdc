"""Preprocessing of grey squares for the network: the same in training, validation, scoring and pre-masks.

Pixels go to 0..1, are repeated over three channels and normalised by the means and deviations of ImageNet. Encoders
whose weights were trained with others convert this input themselves (`input_normalisation`).
"""

import numpy as np
import torch
from jaxtyping import Float32, UInt8

CHANNEL_MEANS = (0.485, 0.456, 0.406)
CHANNEL_DEVIATIONS = (0.229, 0.224, 0.225)


def to_tensor(square: UInt8[np.ndarray, "side side"]) -> Float32[torch.Tensor, "3 side side"]:
    """One square as the network takes it."""
    return batch_tensor(square[None])[0]


def batch_tensor(squares: UInt8[np.ndarray, "n side side"]) -> Float32[torch.Tensor, "n 3 side side"]:
    """Many squares at once, in the same way and with the same values as one by one."""
    means = torch.tensor(CHANNEL_MEANS).view(1, 3, 1, 1)
    deviations = torch.tensor(CHANNEL_DEVIATIONS).view(1, 3, 1, 1)
    grey = torch.from_numpy(np.ascontiguousarray(squares)).float().div_(255).unsqueeze(1)
    return (grey - means) / deviations
