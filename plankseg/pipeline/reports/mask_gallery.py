"""Gallery of archive masks by the Dice that the model expects of them, and an animated GIF of one image."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from plankseg.config import Settings
from plankseg.imaging.masks import decode_mask
from plankseg.imaging.pictures.animation import encode_gif, frames
from plankseg.imaging.pictures.overlay import GalleryRow, data_uri, fit_under, gallery, outline
from plankseg.inference.backends import plain_backend
from plankseg.inference.predictor import TTAPredictor
from plankseg.learning.network.architecture import choose_device
from plankseg.pipeline.archive.image_paths import paths_of_ids
from plankseg.pipeline.models.loading import load_network
from plankseg.pipeline.models.recipes import framing_of, recipe_of
from plankseg.pipeline.reports.round_report import ARTIFACT_BYTES, load_or_none, lost_row
from plankseg.storage.store import Store
from plankseg.storage.tables.models import ModelRow

MASKS_SHOWN = 20


@dataclass(frozen=True)
class ShownMasks:
    """A gallery as a data URI, and its images in the same order as rows of a table: path and expected Dice."""

    picture: str
    images: tuple[dict[str, str], ...]


def mask_gallery(store: Store, measures: pa.Table, *, shown: int = MASKS_SHOWN) -> ShownMasks | None:
    """Masks at even steps from the one of which the model expects least to that of most; None without masks."""
    rows = [row for row in measures.to_pylist() if row["reason"] is None]
    ordered = sorted(rows, key=lambda row: (row["confidence"] or 0.0, row["image_id"]))
    if not ordered:
        return None
    steps = np.unique(np.linspace(0, len(ordered) - 1, min(shown, len(ordered))).round().astype(int))
    chosen = [ordered[step] for step in steps]
    paths = paths_of_ids(store, (row["image_id"] for row in chosen))
    cells = [_cell(store, row, paths[row["image_id"]]) for row in chosen]
    picture = data_uri(fit_under(gallery(cells, cell_px=150, across=5), ARTIFACT_BYTES))
    listed = tuple({"image": paths[row["image_id"]], "expected Dice": _expected(row)} for row in chosen)
    return ShownMasks(picture, listed)


def _cell(store: Store, row: Mapping[str, Any], path: str) -> GalleryRow:
    grey = load_or_none(store, row["image_id"])
    if grey is None:
        return lost_row(path)
    mask = decode_mask(store.blobs.get(row["mask_sha"], "png"), shape=(grey.shape[0], grey.shape[1]))
    return GalleryRow((outline(grey, mask),), f"{_expected(row)}  {path}")


def _expected(row: Mapping[str, Any]) -> str:
    return "nothing found" if row["empty"] else f"{row['confidence']:.2f}"


def gif_of(store: Store, model: ModelRow, image_id: str, settings: Settings) -> bytes:
    """A GIF of one image: before, each test-time view, where they disagree, after, and the object alone."""
    recipe, device = recipe_of(model), choose_device(settings.device)
    backend = plain_backend(load_network(store, model, device), device, recipe.training.precision)
    predictor = TTAPredictor(backend, store.catalogue.load, recipe.query, framing_of(model))
    grey = store.catalogue.load(image_id)
    letterbox = framing_of(model).letterbox(grey.shape)
    squares = torch.from_numpy(letterbox.apply(grey)[None])
    per_view = predictor.predict_views(squares, [image_id])[:, 0].cpu().numpy()
    named = zip(predictor.views, per_view, strict=True)
    return encode_gif(frames(grey, [(view.name, letterbox.undo(square)) for view, square in named]))
