"""Real images of `quality.py`: a clean source, a target, masks by people, and methods that cost nobody's time."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from plankseg.imaging.arrays import Mask
from plankseg.imaging.mask_metrics import dice_off_outline
from plankseg.imaging.masks import decode_mask, dice, encode_mask, pixel_sha
from plankseg.imaging.threshold import otsu_mask
from plankseg.learning.dataset import Example
from plankseg.pipeline.ingest.register_images import IngestOptions, ingest_folder
from plankseg.pipeline.models.rivals import rival_scores
from plankseg.pipeline.models.standings import Scores
from plankseg.pipeline.training.training_set import TrainingSet, mask_loader
from plankseg.stable_hash import stable_hash
from plankseg.storage.store import Store
from plankseg.storage.tables.labels import LabelRow

OTSU = "Otsu"


@dataclass(frozen=True)
class Pair:
    """A clean source and a target, as folders below that of the data; `judged` are images whose masks people made.

    `pool_masks` are masks of the pool by people, that nothing is trained on but corrections.
    """

    source: str
    pool: str | None
    judged: str
    masks: str
    pool_masks: str | None = None


PAIRS = {
    "zooscannet": Pair(
        source="scancol24-zooplankton/images",
        pool="zooscannet-sample/imgs",
        judged="zooscannet-sample/imgs",
        masks="zooscannet-masks/masks",
    ),
    "wbc": Pair(
        source="wbc-two-domain/domain_a_clean/images",
        pool=None,
        judged="wbc-two-domain/domain_b_noisy/images",
        masks="wbc-two-domain/domain_b_noisy/masks",
    ),
    "nuclei": Pair(
        source="nuclei-dsb2018/source/images",
        pool="nuclei-dsb2018/pool/images",
        judged="nuclei-dsb2018/test/images",
        masks="nuclei-dsb2018/test/masks",
        pool_masks="nuclei-dsb2018/pool/masks",
    ),
}


def store_of(pair: Pair, data: Path, folder: Path) -> Store:
    """A store with the pair's images; what is there already is not read again.

    The judged images come first, so that the pool is without them; those without a mask are left out of validation.
    """
    store = Store.open(folder)
    ingest_folder(store, data / pair.judged, role="validation", options=IngestOptions(masks=data / pair.masks))
    ingest_folder(store, data / pair.source, role="source", options=IngestOptions(outline="local contrast"))
    if pair.pool:
        ingest_folder(store, data / pair.pool, role="pool", options=IngestOptions(automatic_masks=True))
    return store


def rivals_of(store: Store, labels: dict[str, LabelRow]) -> dict[str, Scores]:
    """The conventional methods on the images that only report."""
    load_mask = mask_loader(store, labels)
    otsu = {}
    for image_id in labels:
        mask, truth = otsu_mask(store.catalogue.load(image_id)), load_mask(image_id)
        otsu[image_id] = [dice(mask, truth), dice_off_outline(mask, truth)]
    return {**rival_scores(store, labels, load_mask), OTSU: otsu}


def corrected_choosing_half(data: TrainingSet, count: int, weight: float) -> TrainingSet:
    """The training set with some images of the choosing half as answers, which then no longer choose."""
    ids = [example.image_id for example in data.validation]
    answered = set(sorted(ids, key=lambda image_id: stable_hash("corrections", image_id))[:count])
    return replace(
        data,
        examples=(*data.examples, *(Example(i, weight, is_correction=True) for i in sorted(answered))),
        validation=tuple(example for example in data.validation if example.image_id not in answered),
    )


@dataclass(frozen=True)
class PoolMasks:
    """Folders of the pool's images and of their masks by people, which lie at the same relative paths."""

    images: Path
    masks: Path

    def read(self, uri: str) -> Mask:
        """The mask of an image of the pool. Raises FileNotFoundError where it has none."""
        file = self.masks / Path(uri.removeprefix("file://")).relative_to(self.images.resolve())
        return decode_mask(file.read_bytes())


def corrected_pool(store: Store, data: TrainingSet, masks: PoolMasks, count: int, weight: float) -> TrainingSet:
    """The training set with images of the pool, drawn at random, as answers."""
    usable = set(store.catalogue.ids("pool")) - data.left_out
    answered = sorted(usable, key=lambda image_id: stable_hash("corrections", image_id))[:count]
    labels = {}
    for row in store.catalogue.rows(answered):
        mask, image_id = masks.read(row.uri), row.image_id
        sha = store.blobs.put(encode_mask(mask), "png")
        labels[image_id] = LabelRow(
            image_id=image_id,
            round=0,
            origin="given",
            status="usable",
            answered_at=datetime.now(UTC),
            mask_sha=sha,
            pixel_sha=pixel_sha(mask),
        )
    kept = tuple(example for example in data.examples if example.image_id not in labels)
    corrections = tuple(Example(i, weight, is_correction=True) for i in sorted(labels))
    return replace(data, examples=(*kept, *corrections), labels={**data.labels, **labels})
