"""What lies before the person: a store with one proposed round of images made for the walk, pushed to Label Studio."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from plankseg.imaging.masks import encode_mask
from plankseg.imaging.reading import encode_grey
from plankseg.imaging.synthetic.generator import draw_sample
from plankseg.labelling.api.client import LabelStudioClient
from plankseg.pipeline.annotation.collect_answers import collect
from plankseg.storage.objects.blobs import sha256_of
from plankseg.storage.store import Store
from plankseg.storage.tables.catalogue import ImageRow
from plankseg.storage.tables.labels import LabelRow
from plankseg.storage.tables.proposals import ProposalRow
from tests.support.ui_walk import Person

ROUND = 1
ODD_SIZES = ("11x29", "29x11", "1285x134", "134x1285", "70x600", "600x70")  # width x height
CORRECTED = ("brushed", "painted at once", "erased", "deleted", "unusable", "skipped")


@dataclass(frozen=True)
class Pushed:
    """One image in Label Studio: its task and the pre-mask that came with it."""

    image_id: str
    task_id: int
    premask: np.ndarray


@dataclass(frozen=True)
class Desk:
    """A person before one round of a store in Label Studio."""

    person: Person
    store: Store
    client: LabelStudioClient
    project: int
    email: str
    images: dict[str, Pushed]

    def collect(self) -> dict[str, LabelRow]:
        """Collect the round, and give the answers by the images' names."""
        collect(self.store, self.client, self.project)
        rows = {row.image_id: row for row in self.store.labels.answered(ROUND)}
        return {name: rows[pushed.image_id] for name, pushed in self.images.items() if pushed.image_id in rows}


def odd_images() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Noise of odd sizes, each with a mask as no hand draws it: a disc with holes, specks, and paint at all corners."""
    rng = np.random.default_rng(0)
    images = {}
    for name in ODD_SIZES:
        width, height = map(int, name.split("x"))
        rows, columns = np.mgrid[:height, :width]
        disc = ((rows + 0.5) / height - 0.5) ** 2 + ((columns + 0.5) / width - 0.5) ** 2 < 0.35**2
        mask = disc ^ (rng.random((height, width)) < 0.02)
        mask[[0, 0, -1, -1], [0, -1, 0, -1]] = True
        images[name] = (rng.integers(60, 255, (height, width), dtype=np.uint8), mask)
    return images


def samples(names: tuple[str, ...]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Synthetic vignettes with their exact masks as pre-masks, in a landscape shape that fits into the window.

    Each has another width, so that the walk sees when the label stream has brought the next image.
    """
    images = {}
    for seed, name in enumerate(names):
        sample = draw_sample("noisy", seed, max_side_px=120)
        pictures = [
            cv2.resize(picture, (150 + 3 * seed, 100), interpolation=cv2.INTER_NEAREST)
            for picture in (sample.grey, sample.mask.astype(np.uint8))
        ]
        images[name] = (pictures[0], pictures[1].astype(bool))
    return images


def propose(
    store: Store, folder: Path, images: dict[str, tuple[np.ndarray, np.ndarray]]
) -> dict[str, tuple[str, np.ndarray]]:
    """Put images into the catalogue and propose them, as a round with a model would have done."""
    catalogue, proposals, ids = [], [], {}
    for name, (grey, mask) in images.items():
        data = encode_grey(grey)
        path = folder / f"{name}.png"
        path.write_bytes(data)
        height, width = grey.shape
        image_id = sha256_of(data)
        catalogue.append(
            ImageRow(image_id=image_id, uri=str(path), dataset="walk", role="pool", width=width, height=height)
        )
        proposals.append(
            ProposalRow(
                round=ROUND,
                image_id=image_id,
                chosen=True,
                batch=0,
                uncertainty=0.5,
                premask_sha=store.blobs.put(encode_mask(mask), "png"),
                model_id=sha256_of(b"no model"),
                manifest_sha=sha256_of(b"no manifest"),
                seed=0,
            )
        )
        ids[name] = (image_id, mask)
    store.catalogue.add(catalogue)
    store.proposals.commit(ROUND, proposals)
    return ids
