"""Segmentation of one shard of the archive: masks and measures, written so that a second run changes nothing."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict

from plankseg.config import QueryConfig
from plankseg.errors import StoreError
from plankseg.imaging.arrays import Mask
from plankseg.imaging.masks import encode_mask, largest_component
from plankseg.imaging.shape import expected_dice, measure_shape
from plankseg.inference.backends import Backend, plain_backend
from plankseg.inference.prediction import Prediction
from plankseg.inference.predictor import TTAPredictor
from plankseg.inference.prefetch import Unreadable
from plankseg.inference.tta import recipe_views
from plankseg.learning.network.architecture import choose_device
from plankseg.parallel import ordered_map
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
        postprocessing = postprocessing_of(shard.model)
        predictor = _predictor(store, shard, device)
        batches = predictor.batches(shard.image_ids)
        largest_part = json.loads(shard.settings)["largest_part"]

        def mask_of(prediction: Prediction) -> Mask:
            grey = predictor.load(prediction.image_id) if postprocessing.uses_image else None
            return postprocessing.mask_of(prediction.probability, grey)

        rows = list(
            ordered_map(
                lambda item: _row(store, item, mask_of, largest_part=largest_part),
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
    settings = json.loads(shard.settings)
    query = QueryConfig(
        views="dihedral" if settings["views"] == "dihedral" else "recipe",
        noise_sd=settings.get("noise_sd", 0.0),
        seed=settings.get("seed", 0),
        forward_batch=settings["forward_batch"],
    )
    views = recipe_views(0.0)[:1] if settings["views"] == "none" else ()
    backend: Backend
    if "backend" in settings:
        backend = cached_backend(store, shard.model, settings["backend"], device=device)
    else:
        backend = plain_backend(cached_network(store, shard.model, where), where, recipe.training.precision)
    return TTAPredictor(backend, store.catalogue.loader(shard.image_ids), query, framing_of(shard.model), views)


def _row(
    store: Store, item: Prediction | Unreadable, mask_of: Callable[[Prediction], Mask], *, largest_part: bool
) -> Row:
    """The recorded row of one image; its mask is stored first."""
    if isinstance(item, Unreadable):
        return dict.fromkeys(MEASURES.names) | {"image_id": item.image_id, "reason": item.reason}
    mask = mask_of(item)
    confidence = expected_dice(mask, item.probability)
    if largest_part:
        mask = largest_component(mask)
    measures = measure_shape(mask)
    return {
        "image_id": item.image_id,
        "mask_sha": store.blobs.put(encode_mask(mask), "png"),
        "reason": None,
        "width": mask.shape[1],
        "height": mask.shape[0],
        "empty": measures.empty,
        "confidence": confidence,
        "agreement": item.agreement,
    } | asdict(measures)
