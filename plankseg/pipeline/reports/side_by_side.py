"""Masks of the best models side by side on the same unlabelled images, the most disputed first."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, islice

import numpy as np

from plankseg.config import Settings
from plankseg.imaging.arrays import Grey, Mask, Rgb
from plankseg.imaging.masks import dice
from plankseg.imaging.pictures.overlay import Colour, GalleryRow, data_uri, fit_under, gallery, outline
from plankseg.pipeline.archive.image_paths import paths_of_ids
from plankseg.pipeline.models.evaluation import Evaluator
from plankseg.pipeline.pool.candidates import choosable
from plankseg.pipeline.reports.round_report import ARTIFACT_BYTES, plain_picture
from plankseg.pipeline.training.comparison import Result
from plankseg.storage.store import Store

# Vermilion, blue and bluish green of Okabe and Ito: distinct for nearly everybody, and on grey.
COLOURS: tuple[Colour, ...] = ((213, 94, 0), (0, 114, 178), (0, 158, 115))
IMAGES = 12


@dataclass(frozen=True)
class ComparedImage:
    """One unlabelled image, a mask of each model, and the mean Dice between any two of them."""

    caption: str
    grey: Grey
    masks: tuple[Mask, ...]
    agreement: float

    def pictures(self) -> tuple[Rgb, ...]:
        """The image alone, then with the outline of each model."""
        drawn = (outline(self.grey, mask, colour=colour) for mask, colour in zip(self.masks, COLOURS, strict=False))
        return plain_picture(self.grey), *drawn


def compare_on_pool(
    store: Store, results: Sequence[Result], settings: Settings, *, images: int = IMAGES, seed: int = 0
) -> list[ComparedImage]:
    """Masks of up to three models on the same images of the pool, drawn by the seed; the most disputed first.

    An image that cannot be read any more is left out, and the next one drawn. Empty if the pool is empty.
    """
    greys = _drawn(store, images, seed)
    models = [result.model for result in results[: len(COLOURS)]]
    columns = [list(Evaluator.of_model(store, model, settings).masks(list(greys))) for model in models]
    paths = paths_of_ids(store, greys)
    compared = [
        ComparedImage(paths[image_id], grey, masks, _agreement(masks))
        for (image_id, grey), masks in zip(greys.items(), zip(*columns, strict=True), strict=True)
    ]
    return sorted(compared, key=lambda one: (one.agreement, one.caption))


def side_by_side_sheet(images: Sequence[ComparedImage], titles: Sequence[str]) -> str:
    """All images on one sheet that fits into an artifact, as a data URI."""
    rows = [GalleryRow(image.pictures(), f"{image.caption}, agreement {image.agreement:.2f}") for image in images]
    sheet = gallery(rows, titles=("image", *titles), cell_px=150, across=2)
    return data_uri(fit_under(sheet, ARTIFACT_BYTES))


def _drawn(store: Store, images: int, seed: int) -> dict[str, Grey]:
    """Readable images of the pool; ingest and propose report the others."""
    pool = choosable(store)
    order = np.random.default_rng(seed).permutation(len(pool))
    return dict(islice(store.catalogue.readable(pool[index] for index in order), images))


def _agreement(masks: Sequence[Mask]) -> float:
    pairs = [dice(a, b) for a, b in combinations(masks, 2)]
    return float(np.mean(pairs)) if pairs else 1.0
