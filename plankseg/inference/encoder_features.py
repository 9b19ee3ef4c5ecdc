"""What a model's own encoder sees in an image, as one vector: to find images that are alike, or unlike all others."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from plankseg.imaging.framing import Framing, grouped_by_side
from plankseg.imaging.letterbox import Letterbox
from plankseg.learning.network.forward import evaluation_mode
from plankseg.learning.network.preprocessing import batch_tensor

SQUARES_AT_ONCE = 32


def encoder_features(
    network: torch.nn.Module, greys: Sequence[UInt8[np.ndarray, "_ _"]], framing: Framing
) -> Float32[np.ndarray, "images dimensions"]:
    """The mean of the encoder's deepest map over each image's own pixels, and at the end the logarithm of its area.

    One view, float32, in the order of the images. The network stays on its device and in its mode.
    """
    device = next(network.parameters()).device
    letterboxes = [framing.letterbox(grey.shape) for grey in greys]
    rows: dict[int, np.ndarray] = {}
    for indices in grouped_by_side(letterboxes, lambda _: SQUARES_AT_ONCE):
        squares = np.stack([letterboxes[index].apply(greys[index]) for index in indices])
        with torch.inference_mode(), evaluation_mode(network):
            deepest = network.encoder(batch_tensor(squares).to(device))[-1].float().cpu().numpy()
        for index, cells in zip(indices, deepest, strict=True):
            rows[index] = np.append(_mean_inside(cells, letterboxes[index]), np.log(greys[index].size))
    return np.stack([rows[index] for index in range(len(greys))]).astype(np.float32)


def _mean_inside(cells: np.ndarray, letterbox: Letterbox) -> np.ndarray:
    """The mean of a map (channels, rows, columns) over the cells that the image covers, at least in part."""
    scale = cells.shape[-1] / letterbox.side
    rows, columns = (slice(int(part.start * scale), int(np.ceil(part.stop * scale))) for part in letterbox.inside)
    return np.asarray(cells[:, rows, columns].mean(axis=(1, 2)))
