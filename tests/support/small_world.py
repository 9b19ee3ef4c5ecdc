"""A small but complete world for the tests of whole rounds: real images, a real model 0, in seconds."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from plankseg.config import Recipe, Settings
from plankseg.imaging.arrays import Mask
from plankseg.imaging.masks import decode_mask
from plankseg.imaging.synthetic.demo_domains import Folders, write_domains
from plankseg.pipeline.ingest.register_images import IngestOptions, ingest_folder
from plankseg.storage.store import Store
from tests.support.tiny_recipe import TINY_ROUNDS


@dataclass(frozen=True)
class World:
    """Folders of synthetic images and a store with everything ingested and model 0 trained."""

    folders: Folders
    store: Path

    def copy(self, to: Path) -> Store:
        """A store of one's own, as it is after pretraining."""
        shutil.copytree(self.store, to)
        return Store.open(to)

    def truth(self, store: Store, image_id: str) -> Mask:
        """The exact mask of an image of the pool."""
        row = store.catalogue.row(image_id)
        assert self.folders.pool_masks is not None
        return decode_mask((self.folders.pool_masks / str(row.taxon) / f"{row.external_id}.png").read_bytes())


def make_world(folder: Path, recipe: Recipe = TINY_ROUNDS) -> World:
    """Write images, ingest them and train model 0."""
    from plankseg.pipeline.training.round_training import fit

    folders = write_domains(folder / "images", source=30, pool=60, validation=12)
    assert folders.validation is not None
    store = Store.open(folder / "store")
    ingest_folder(store, folders.source, role="source")
    ingest_folder(store, folders.validation, role="validation", options=IngestOptions(masks=folders.validation_masks))
    ingest_folder(store, folders.pool, role="pool")
    fit(store, recipe, Settings(store=str(store.root), device="cpu"), round_number=0)
    return World(folders, store.root)
