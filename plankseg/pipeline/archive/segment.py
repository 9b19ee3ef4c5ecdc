"""Segmentation of one shard of the archive: masks and measures, written so that a second run changes nothing."""

import json
import time

from plankseg.errors import StoreError
from plankseg.imaging.masks import encode_mask
from plankseg.inference.backends import Backend, plain_backend
from plankseg.inference.prediction import Prediction
from plankseg.inference.predictor import TTAPredictor
from plankseg.inference.prefetch import Load, Unreadable
from plankseg.learning.network.architecture import choose_device
from plankseg.parallel import ordered_map
from plankseg.pipeline.archive.measured_masks import MaskMaker, archive_predictor
from plankseg.pipeline.archive.shards import Shard
from plankseg.pipeline.models.loading import cached_backend, cached_network, compute_lock
from plankseg.pipeline.models.recipes import framing_of, postprocessing_of, recipe_of
from plankseg.storage.store import Store
from plankseg.storage.tables.segments import MEASURES, SegmentRow

WRITERS = 4
Row = dict[str, object]


def segment_shard(store: Store, shard: Shard, *, device: str) -> SegmentRow:
    """Segment and measure the images of a shard, store masks and measures, and record the shard as done.

    The result depends on the shard alone: done twice, or by two workers, it has the same bytes. A process segments one
    shard at a time, however many threads it has.

    Raises:
        ScoreError: the model's answer is not finite; it names the images.
        StoreError: not one image could be read, so nothing is recorded; or the store cannot be written.
    """
    with compute_lock:
        started = time.monotonic()
        masks = MaskMaker.of(postprocessing_of(shard.model), shard.settings)
        predictor = _predictor(store, shard, device)
        # Alone or in whatever company, an image has the same mask: `plankseg predict` makes it again, to the last bit.
        batches = predictor.batches(shard.image_ids, independent=True)
        rows = list(
            ordered_map(
                lambda item: _row(store, item, masks, predictor.load),
                (item for batch in batches for item in batch),
                threads=WRITERS,
                ahead=4 * WRITERS,  # masks that are measured and written while the network goes on
                name="measure",
            )
        )
    reasons = [row["reason"] for row in rows if row["reason"] is not None]
    if len(reasons) == len(rows):
        raise StoreError(f"None of {len(rows)} images can be read. The first: {reasons[0]}")
    row = SegmentRow(
        shard_id=shard.shard_id,
        job=shard.job,
        model_id=shard.model.model_id,
        settings=shard.settings,
        images=len(rows),
        unreadable=len(reasons),
        measures_sha=store.segments.put_measures(rows),
        seconds=time.monotonic() - started,
    )
    store.segments.commit(row)
    return row


def _predictor(store: Store, shard: Shard, device: str) -> TTAPredictor:
    """The model of a shard in its backend, with the views of the shard's settings."""
    where, recipe = choose_device(device), recipe_of(shard.model)
    backend: Backend
    if (name := json.loads(shard.settings).get("backend")) is not None:
        backend = cached_backend(store, shard.model, name, device=device)
    else:
        backend = plain_backend(cached_network(store, shard.model, where), where, recipe.training.precision)
    load = store.catalogue.loader(shard.image_ids)
    return archive_predictor(backend, load, framing=framing_of(shard.model), settings=shard.settings)


def _row(store: Store, item: Prediction | Unreadable, masks: MaskMaker, load: Load) -> Row:
    """The recorded row of one image; its mask is stored first."""
    if isinstance(item, Unreadable):
        return dict.fromkeys(MEASURES.names) | {"image_id": item.image_id, "reason": item.reason}
    mask, measures = masks.mask_and_measures(item, load(item.image_id) if masks.uses_image else None)
    return {
        "image_id": item.image_id,
        "mask_sha": store.blobs.put(encode_mask(mask), "png"),
        "reason": None,
    } | measures
