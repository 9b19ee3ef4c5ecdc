"""The stores of a simulation: images and true masks once, a start with model 0 for each seed, a copy for each arm."""

import io
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from plankseg.config import Recipe, Settings, SimulationData
from plankseg.errors import SettingsError
from plankseg.files import atomic_write
from plankseg.imaging.arrays import Mask
from plankseg.inference.encoder_features import encoder_features
from plankseg.learning.checkpoints import EpochReport
from plankseg.learning.network.architecture import choose_device
from plankseg.pipeline.ingest.register_images import IngestOptions, ingest_folder
from plankseg.pipeline.models.loading import load_network
from plankseg.pipeline.models.recipes import framing_of
from plankseg.pipeline.training.round_training import fit
from plankseg.pipeline.training.training_set import mask_loader
from plankseg.stable_hash import stable_hash
from plankseg.storage.store import Store
from plankseg.storage.tables.exclusions import ExclusionRow

FEWEST_OF_POOL = 3
READ_AT_ONCE = 64


@dataclass(frozen=True)
class World:
    """A work folder with the stores of a simulation; what is there already is not made again."""

    work: Path

    @property
    def images(self) -> Path:
        """The store with all images, in which nothing is trained."""
        return self.work / "images"

    @cached_property
    def truth(self) -> Callable[[str], Mask]:
        """The true mask of an image of the pool."""
        store = Store.open(self.work / "truth")
        labels = {row.image_id: row for row in store.labels.current() if row.status == "usable"}
        return mask_loader(store, labels)

    def start(self, seed: int) -> Path:
        """The store of a seed with model 0."""
        return self.work / f"seed-{seed}" / "start"

    def arm(self, name: str, seed: int) -> Path:
        """The store of one arm with one seed."""
        return self.work / f"seed-{seed}" / name


def make_world(work: Path, data: SimulationData, *, test_images: int) -> World:
    """Register images and masks. Images of the pool without a true mask, and too many test images, are taken out.

    Raises SettingsError where too few images of the pool have one, and what `ingest_folder` raises.
    """
    world = World(work)
    truth, store = Store.open(work / "truth"), Store.open(world.images)
    ingest_folder(truth, data.pool, role="source", options=IngestOptions(masks=Path(data.pool_masks)))
    ingest_folder(store, data.test, role="validation", options=IngestOptions(masks=Path(data.test_masks)))
    source_masks = Path(data.source_masks) if data.source_masks else None
    ingest_folder(store, data.source, role="source", options=IngestOptions(masks=source_masks))
    ingest_folder(store, data.pool, role="pool")
    known = {row.image_id for row in truth.labels.current() if row.status == "usable"}
    pool = set(store.catalogue.ids("pool"))
    if len(pool & known) < FEWEST_OF_POOL:
        raise SettingsError(
            f"{len(pool & known)} of {len(pool)} images of the pool have a true mask in {data.pool_masks}; at least "
            f"{FEWEST_OF_POOL} are needed. Masks have the names of their images."
        )
    by_hash = sorted(store.catalogue.ids("validation"), key=lambda image_id: stable_hash("simulation", image_id))
    store.exclusions.record(
        ExclusionRow(image_id=image_id, kind="removed", reason="it is not simulated with")
        for image_id in {*(pool - known), *by_hash[test_images:]}
    )
    return world


def start_of(
    world: World, recipe: Recipe, settings: Settings, seed: int, report: Callable[[EpochReport], None]
) -> Store:
    """The store of a seed with model 0, trained with that seed on the source; looked up where it is there."""
    store = copy_of(world.images, world.start(seed))
    training = recipe.training.model_copy(update={"seed": seed})
    fit(store, recipe.model_copy(update={"training": training}), settings, round_number=0, report=report)
    return store


def copy_of(store: Path, target: Path) -> Store:
    """A copy of a store in a folder; what is there already stays. A kill leaves no half copy."""
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(target.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(store, part)
        part.rename(target)
    return Store.open(target)


def features_of_pool(world: World, start: Store, settings: Settings, seed: int) -> dict[str, np.ndarray]:
    """What model 0 of a seed sees in each image of the pool, at variance 1: distances mean the same in every arm.

    Computed once for all arms of the seed.
    """
    kept = world.start(seed).with_name("features.npz")
    if not kept.exists():
        ids, vectors = _features(start, settings)
        buffer = io.BytesIO()
        np.savez(buffer, ids=ids, vectors=vectors)
        atomic_write(kept, buffer.getvalue())
    found = np.load(kept)
    return dict(zip(found["ids"].tolist(), found["vectors"], strict=True))


def _features(start: Store, settings: Settings) -> tuple[list[str], np.ndarray]:
    model = start.models.active()
    assert model is not None, "a start has model 0"
    network = load_network(start, model, choose_device(settings.device))
    ids, rows = list(start.catalogue.ids("pool")), []
    for first in range(0, len(ids), READ_AT_ONCE):
        greys = [start.catalogue.load(image_id) for image_id in ids[first : first + READ_AT_ONCE]]
        rows.append(encoder_features(network, greys, framing_of(model)))
    vectors = np.concatenate(rows)
    spread = vectors.std(axis=0)
    return ids, (vectors - vectors.mean(axis=0)) / np.where(spread > 0, spread, 1.0) / np.sqrt(vectors.shape[1])
