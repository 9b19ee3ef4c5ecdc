"""Sample images for a contact sheet of the augmentations: given files, images of the store, or synthetic ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8

from plankseg.config import Recipe, TrainingConfig
from plankseg.errors import SettingsError
from plankseg.imaging.arrays import Grey, Mask
from plankseg.imaging.letterbox import Letterbox
from plankseg.imaging.masks import decode_mask
from plankseg.imaging.pictures.overlay import Picture
from plankseg.imaging.reading import read_grey
from plankseg.imaging.synthetic.generator import draw_sample
from plankseg.imaging.threshold import automatic_mask
from plankseg.learning.augmentation.contact_sheet import contact_sheet
from plankseg.pipeline.pool.style_references import reference_squares
from plankseg.storage.store import Store

SYNTHETIC_REFERENCES = 16


@dataclass(frozen=True)
class SampleSquares:
    """Squares with their masks, and squares of the target domain, None where there are none."""

    squares: UInt8[np.ndarray, "n side side"]
    masks: Bool[np.ndarray, "n side side"]
    references: UInt8[np.ndarray, "m side side"] | None

    @classmethod
    def of(cls, pairs: Sequence[tuple[Grey, Mask]], references: np.ndarray | None, *, side_px: int) -> "SampleSquares":
        """Images and masks of any size, letterboxed."""
        boxes = [Letterbox.of(grey.shape, side_px) for grey, _ in pairs]
        squares = np.stack([box.apply(grey) for box, (grey, _) in zip(boxes, pairs, strict=True)])
        masks = np.stack([box.apply_mask(mask) for box, (_, mask) in zip(boxes, pairs, strict=True)])
        return cls(squares, masks, references)

    def sheet(self, *, draws: int, seed: int) -> Picture:
        """Rows of compositions, columns of draws."""
        return contact_sheet(self.squares, self.masks, references=self.references, draws=draws, seed=seed)


def from_files(files: Sequence[Path], references: Sequence[Path], *, side_px: int) -> SampleSquares:
    """Image files, with automatic masks. Raises SettingsError for one without a mask, ImageReadError for no image."""
    pairs = []
    for file in files:
        grey = read_grey(file.read_bytes())
        automatic = automatic_mask(grey)
        if automatic.mask is None:
            raise SettingsError(f"{file} gets no automatic mask ({automatic.reason}); show another image.")
        pairs.append((grey, automatic.mask))
    return SampleSquares.of(
        pairs, squared([read_grey(file.read_bytes()) for file in references], side_px), side_px=side_px
    )


def from_store(store: Store, *, images: int, side_px: int) -> SampleSquares:
    """The first usable images of the source, and references as a training gets them. Raises SettingsError for none."""
    source = set(store.catalogue.ids("source"))
    usable = {row.image_id: row for row in store.labels.current() if row.status == "usable" and row.image_id in source}
    if not usable:
        raise SettingsError(f"The store {store.root} has no image with a mask in the source; run ingest first.")
    masks = {image_id: str(usable[image_id].mask_sha) for image_id in sorted(usable)[:images]}
    pairs = [(store.catalogue.load(i), decode_mask(store.blobs.get(sha, "png"))) for i, sha in masks.items()]
    recipe = Recipe(training=TrainingConfig(side_px=side_px, augmentation="specialized"))
    return SampleSquares.of(pairs, reference_squares(store, recipe, 0), side_px=side_px)


def synthetic(*, images: int, seed: int, side_px: int) -> SampleSquares:
    """Clean images of the demo's generator, and noisy ones as references."""
    samples = [draw_sample("clean", seed + number) for number in range(images)]
    noisy = [draw_sample("noisy", seed + number).grey for number in range(SYNTHETIC_REFERENCES)]
    return SampleSquares.of(
        [(sample.grey, sample.mask) for sample in samples], squared(noisy, side_px), side_px=side_px
    )


def squared(greys: Sequence[Grey], side_px: int) -> UInt8[np.ndarray, "n side side"] | None:
    """Images of any size in squares; None for none."""
    return np.stack([Letterbox.of(grey.shape, side_px).apply(grey) for grey in greys]) if greys else None
