"""Training and validation sets: images and masks, letterboxed, checked and kept in memory."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32
from torch.utils.data import Dataset

from plankseg.errors import MaskShapeError
from plankseg.imaging.arrays import Grey, Mask
from plankseg.imaging.framing import Framing
from plankseg.imaging.letterbox import Letterbox
from plankseg.imaging.masks import pixel_sha
from plankseg.learning.augmentation.compositions import Composition
from plankseg.learning.augmentation.neighbours import paste_neighbours
from plankseg.learning.metrics import ImageScores, score_images
from plankseg.learning.network.forward import Predictor
from plankseg.learning.network.preprocessing import to_tensor
from plankseg.learning.sampler import Draw

CACHE_BYTES = 768 * 2**20
_NEIGHBOURS = 1
"""Which of a draw's streams of random numbers places the neighbours."""


@dataclass(frozen=True)
class Example:
    """One image with a mask, how often it is drawn relative to weight 1, and whether a person corrected it."""

    image_id: str
    weight: float
    is_correction: bool = False


@dataclass(frozen=True)
class Source:
    """Where images and masks come from, both at native size; need not be picklable."""

    load: Callable[[str], Grey]
    load_mask: Callable[[str], Mask]

    def pair(self, image_id: str) -> tuple[Grey, Mask]:
        """An image and its mask. Raises MaskShapeError when their sizes differ."""
        grey, mask = self.load(image_id), self.load_mask(image_id)
        if grey.shape != mask.shape:
            raise MaskShapeError(
                f"The mask of image {image_id} is {mask.shape[0]} x {mask.shape[1]} (rows x columns) but the image is"
                f" {grey.shape[0]} x {grey.shape[1]}. Quarantine this label or answer the image again, then retrain."
            )
        return grey, mask


class TrainingSquares(Dataset[tuple[torch.Tensor, torch.Tensor]]):  # type: ignore[misc]
    """The training set: for a draw, a normalised image (3, side, side) and its mask (1, side, side), both float32.

    `compositions` has one for each side of the framing; `sides` are those of the images' squares, in their order.
    All pairs are read at the start, so that a bad one is found before the first step. As many squares as fit into
    `cache_bytes` are kept, and shared with forked loader processes; the others are read again at every draw. A
    `neighbour_share` of the draws, 0 to 1, gets objects of kept squares beside its own.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        source: Source,
        *,
        framing: Framing,
        compositions: Mapping[int, Composition],
        neighbour_share: float = 0.0,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self._neighbour_share = neighbour_share
        self._ids = [example.image_id for example in examples]
        self._source = source
        self._framing = framing
        self._compositions = compositions
        self._kept: list[tuple[np.ndarray, np.ndarray]] = []
        self.mask_shas: list[str] = []
        self.sides: list[int] = []
        free = cache_bytes
        for image_id in self._ids:
            grey, mask = source.pair(image_id)
            self.mask_shas.append(pixel_sha(mask))
            letterbox = framing.letterbox(grey.shape)
            self.sides.append(letterbox.side)
            free -= 2 * letterbox.side**2
            if free >= 0:
                self._kept.append((letterbox.apply(grey), letterbox.apply_mask(mask)))

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(
        self, draw: Draw
    ) -> tuple[Float32[torch.Tensor, "3 side side"], Float32[torch.Tensor, "1 side side"]]:
        """The drawn image, augmented by the draw's own seed."""
        if draw.index < len(self._kept):
            square, mask = self._kept[draw.index]
        else:
            grey, native = self._source.pair(self._ids[draw.index])
            letterbox = self._framing.letterbox(grey.shape)
            square, mask = letterbox.apply(grey), letterbox.apply_mask(native)
        if self._neighbour_share and self._kept:
            rng = np.random.default_rng([draw.augmentation_seed, _NEIGHBOURS])
            if rng.random() < self._neighbour_share:
                square = paste_neighbours(square, mask, self._kept, rng)
        square, mask = self._compositions[len(square)](square, mask, seed=draw.augmentation_seed)
        return to_tensor(square), torch.from_numpy(mask).float().unsqueeze(0)


class ValidationSet:
    """The images a model is evaluated on: squares for the network, masks at native size for the scores."""

    def __init__(self, examples: Sequence[Example], source: Source, *, framing: Framing) -> None:
        self.image_ids = [example.image_id for example in examples]
        self._letterboxes: list[Letterbox] = []
        self._masks: list[np.ndarray] = []  # packed to bits: native masks of large images add up
        self._squares: list[np.ndarray] = []
        self.mask_shas: list[str] = []
        for image_id in self.image_ids:
            grey, mask = source.pair(image_id)
            letterbox = framing.letterbox(grey.shape)
            self._letterboxes.append(letterbox)
            self._squares.append(letterbox.apply(grey))
            self._masks.append(np.packbits(mask))
            self.mask_shas.append(pixel_sha(mask))

    def score(self, predictor: Predictor) -> ImageScores:
        """Dice and IoU of every image at its own size, not at the size of the square."""
        predicted = [answer >= 0.5 for answer in predictor.predict_squares(self._squares, self._letterboxes)]
        return score_images(self.image_ids, predicted, [self._mask(i) for i in range(len(self.image_ids))])

    def _mask(self, index: int) -> Mask:
        box = self._letterboxes[index]
        bits = np.unpackbits(self._masks[index], count=box.height * box.width)
        return bits.astype(bool).reshape(box.height, box.width)
