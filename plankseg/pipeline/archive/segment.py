"""What does a model make of a shard of the archive? Masks and measures, written so that twice is once."""

import json
import time
from dataclasses import asdict

from plankseg.config import QueryConfig
from plankseg.errors import StoreError
from plankseg.imaging.masks import encode_mask, largest_component
from plankseg.imaging.postprocessing import Postprocessing
from plankseg.imaging.shape import expected_dice, measure_shape
from plankseg.inference.backends import Backend, plain_backend
from plankseg.inference.finding import Found, find_objects
from plankseg.inference.predictor import TTAPredictor
from plankseg.inference.prefetch import Unreadable
from plankseg.inference.tta import View, recipe_views, views_of
from plankseg.learning.network.architecture import choose_device
from plankseg.parallel import ordered_map
from plankseg.pipeline.archive.shards import Shard
from plankseg.pipeline.models.loading import cached_backend, cached_network, compute_lock
from plankseg.pipeline.models.recipes import postprocessing_of, recipe_of
from plankseg.storage.store import Store
from plankseg.storage.tables.segments import MEASURES, SegmentRow

WRITERS = 4
Row = dict[str, object]


def segment_shard(store: Store, shard: Shard, *, device: str) -> SegmentRow:
    """Segment and measure the images of a shard, keep masks and measures, and record it as done.

    It depends on the shard alone and may be done twice, or by two workers: the result has the same bytes. A process
    does one shard at a time, whatever its threads.

    Raises:
        ScoreError: the model's answer is not finite; it names the images.
        StoreError: not one image could be read, so nothing is recorded; or the store cannot be written.
    """
    with compute_lock:
        started = time.monotonic()
        postprocessing = postprocessing_of(shard.model)
        looker, views, largest_part = _looker(store, shard, device)
        found = find_objects(looker, shard.image_ids, views)
        rows = list(
            ordered_map(
                lambda one: _row(store, one, postprocessing, largest_part=largest_part),
                found,
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


def _looker(store: Store, shard: Shard, device: str) -> tuple[TTAPredictor, tuple[View, ...], bool]:
    """The model of a shard, ready to look, the views it looks in, and whether only the largest part is kept."""
    where, recipe = choose_device(device), recipe_of(shard.model)
    settings = json.loads(shard.settings)
    query = QueryConfig(
        views="dihedral" if settings["views"] == "dihedral" else "recipe",
        noise_sd=settings.get("noise_sd", 0.0),
        seed=settings.get("seed", 0),
        forward_batch=settings["forward_batch"],
    )
    views = recipe_views(0.0)[:1] if settings["views"] == "none" else views_of(query)
    backend: Backend
    if "backend" in settings:
        backend = cached_backend(store, shard.model, settings["backend"], device=device)
    else:
        backend = plain_backend(cached_network(store, shard.model, where), where, recipe.training.precision)
    looker = TTAPredictor(backend, store.catalogue.loader(shard.image_ids), query, shard.model.side_px)
    return looker, views, settings["largest_part"]


def _row(store: Store, one: Found | Unreadable, postprocessing: Postprocessing, *, largest_part: bool) -> Row:
    """What is recorded of one image; its mask is kept first."""
    if isinstance(one, Unreadable):
        return dict.fromkeys(MEASURES.names) | {"image_id": one.image_id, "reason": one.reason}
    probability = one.probability()
    mask = postprocessing.mask_of(probability)
    confidence = expected_dice(mask, probability)
    if largest_part:
        mask = largest_component(mask)
    measures = measure_shape(mask)
    return {
        "image_id": one.image_id,
        "mask_sha": store.blobs.put(encode_mask(mask), "png"),
        "reason": None,
        "width": mask.shape[1],
        "height": mask.shape[0],
        "empty": measures.empty,
        "confidence": confidence,
        "agreement": one.agreement,
    } | asdict(measures)
