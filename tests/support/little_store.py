"""Small stores for the tests of rounds: a few tiny images, and rows for what is not looked at."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from plankseg.config import Recipe
from plankseg.imaging.arrays import Grey, Mask
from plankseg.imaging.masks import encode_mask, pixel_sha
from plankseg.imaging.reading import encode_grey
from plankseg.pipeline.ingest.register_images import IngestOptions, Role, ingest_folder
from plankseg.storage.store import Store
from plankseg.storage.tables.labels import LabelRow
from plankseg.storage.tables.models import ModelRow
from plankseg.storage.tables.proposals import ProposalRow
from tests.support.tiny_recipe import TINY

START = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
MANIFEST = hashlib.sha256(b"{}").hexdigest()


def noisy_image(seed: int, shape: tuple[int, int] = (34, 41)) -> Grey:
    """Noise, so that every image has bytes of its own."""
    pixels: Grey = np.random.default_rng(seed).integers(0, 255, shape, dtype=np.uint8)
    return pixels


def clean_image(seed: int, shape: tuple[int, int] = (60, 70)) -> Grey:
    """A dark textured disc on erased ground: what an automatic mask is made from."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    radius = rng.uniform(15, 20)
    inside = (rows - shape[0] / 2) ** 2 + (columns - shape[1] / 2) ** 2 < radius**2
    return np.where(inside, rng.integers(60, 150, shape), 255).astype(np.uint8)


def write_images(folder: Path, seeds: range, *, draw: Any = noisy_image) -> Path:
    """One PNG for each seed."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        (folder / f"{seed:04d}.png").write_bytes(encode_grey(draw(seed)))
    return folder


def square(shape: tuple[int, int], size: int) -> Mask:
    """A mask with a square in its corner."""
    mask = np.zeros(shape, dtype=bool)
    mask[:size, :size] = True
    return mask


def store_with(folder: Path, *, pool: int = 0, source: int = 0, validation: int = 0) -> Store:
    """A store with so many images of each role; those for validation come with masks."""
    store = Store.open(folder / "store")
    if source:
        add_images(store, folder, "source", range(1000, 1000 + source))
    if validation:
        add_images(store, folder, "validation", range(2000, 2000 + validation))
    if pool:
        add_images(store, folder, "pool", range(pool))
    return store


def add_images(store: Store, folder: Path, role: Role, seeds: range) -> None:
    """Write images of a role and ingest them."""
    images = write_images(folder / role, seeds, draw=clean_image if role == "source" else noisy_image)
    masks = None
    if role == "validation":
        masks = folder / "validation-masks"
        masks.mkdir(exist_ok=True)
        for path in images.iterdir():
            (masks / path.name).write_bytes(encode_mask(square(noisy_image(0).shape, 12)))
    ingest_folder(store, images, role=role, options=IngestOptions(masks=masks))


def add_model(
    store: Store,
    round_number: int,
    *,
    weights: bytes | None = None,
    promoted: bool = True,
    recipe: Recipe = TINY,
    validation_dice: float = 0.5,
    validation_set: str = "validation set (2 images)",
    metrics: str = "{}",
) -> ModelRow:
    """A model's row, with weights that are only bytes unless given."""
    row = ModelRow(
        model_id=store.models.put_weights(weights or f"weights of model {round_number}".encode()),
        round=round_number,
        recipe=recipe.model_dump_json(),
        data_version=store.labels.version(),
        side_px=recipe.training.side_px,
        epochs=recipe.training.epochs,
        metrics=metrics,
        promoted=promoted,
        reason="the first model",
        validation_dice=validation_dice,
        validation_set=validation_set,
    )
    assert store.models.commit(row)
    return row


def add_proposal(store: Store, round_number: int, image_ids: Sequence[str], *, premask: Mask | None = None) -> None:
    """A proposal of these images, falling uncertainty in their order, all with the same pre-mask."""
    sha = None if premask is None else store.blobs.put(encode_mask(premask), "png")
    assert store.blobs.put(b"{}", "json") == MANIFEST
    active = store.models.active()
    rows = [
        ProposalRow(
            round=round_number,
            image_id=image_id,
            uncertainty=1.0 / (index + 1),
            batch=0,
            chosen=True,
            premask_sha=sha,
            model_id=active.model_id if active else MANIFEST,
            seed=0,
            manifest_sha=MANIFEST,
        )
        for index, image_id in enumerate(image_ids)
    ]
    assert store.proposals.commit(round_number, rows)


def add_answers(
    store: Store, round_number: int, image_ids: Sequence[str], *, mask: Mask | None = None, **fields: Any
) -> None:
    """Answers of a person to these images, each a new annotation; with a mask they are usable."""
    known = len(store.tables.read("labels"))
    given = {"origin": "corrected", "status": "skipped" if mask is None else "usable"} | fields
    store.labels.add(
        LabelRow(
            image_id=image_id,
            round=round_number,
            ls_task=known + number,
            ls_annotation=10_000 + known + number,
            answered_at=START + timedelta(minutes=known + number),
            mask_sha=None if mask is None else store.blobs.put(encode_mask(mask), "png"),
            pixel_sha=None if mask is None else pixel_sha(mask),
            **given,
        )
        for number, image_id in enumerate(image_ids)
    )
