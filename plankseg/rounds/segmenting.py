"""What does a model make of a whole archive? Masks and measures in shards, each of them done once.

A job is a model, a way of looking and a list of images; its shards are fixed slices of that list, so a run that was
killed finds the same shards again and does those that are missing. Images that an earlier job of the same model and the
same way of looking has done are not done again; images that could not be read then are, once they can be.
"""

import hashlib
import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass

import torch

from plankseg.config import Part, QueryConfig, SegmentConfig
from plankseg.errors import EmptyPoolError, ImageReadError, StoreError
from plankseg.imaging.masks import encode_mask, largest_component
from plankseg.imaging.measures import expected_dice, measure
from plankseg.learning.network import build_network, choose_device
from plankseg.querying.finding import Found, Unreadable, find_objects
from plankseg.querying.scoring import Looker
from plankseg.querying.views import View, recipe_views, views_of
from plankseg.rounds.progress import recipe_of
from plankseg.storage.models import ModelRow
from plankseg.storage.segments import MEASURES, SegmentRow
from plankseg.storage.store import Store

WRITERS = 4
IN_WORK = 4 * WRITERS  # images whose masks are being measured and written
Row = dict[str, object]

_networks: dict[tuple[str, str], torch.nn.Module] = {}  # the last one this process used, by model and device


@dataclass(frozen=True)
class Shard:
    """A fixed list of images for one model; `shard_id` names exactly that, and `job` the plan it belongs to."""

    shard_id: str
    job: str
    model: ModelRow
    settings: str
    image_ids: tuple[str, ...]


@dataclass(frozen=True)
class Job:
    """What was asked for, and what of it is still to do; `total` counts the shards that are done too."""

    job: str
    model: ModelRow
    settings: str
    image_ids: tuple[str, ...]
    todo: tuple[Shard, ...]
    total: int


def plan(store: Store, part: Part, config: SegmentConfig, model: ModelRow) -> Job:
    """Cut a part of the catalogue into shards; the same catalogue and settings give the same ones.

    Raises EmptyPoolError when no image belongs to the part.
    """
    role = None if part.role == "all" else part.role
    ids = store.catalogue.matching(role=role, dataset=part.dataset, taxon=part.taxon)
    if not ids:
        raise EmptyPoolError(
            f"No image of the catalogue has role {part.role!r}, data set {part.dataset!r} and taxon {part.taxon!r}; "
            "leave a field empty, or run ingest first."
        )
    settings = _settings(config, recipe_of(model).query)
    job = _sha(model.model_id, settings, str(config.shard_size), *ids)
    finished = store.segments.done(model.model_id, settings)
    earlier = _outcomes(store, [row for row in finished if row.job != job])
    fresh = [image_id for image_id in ids if not earlier.get(image_id, False)]
    slices = list(_slices(fresh, config.shard_size))
    again = _readable_again(store, [row for row in finished if row.job == job])
    shards = [
        Shard(_sha(model.model_id, settings, *some), job, model, settings, tuple(some))
        for some in (*slices, *_slices(again, config.shard_size))
    ]
    recorded = {row.shard_id for row in finished}
    todo = tuple(shard for shard in shards if shard.shard_id not in recorded)
    return Job(job, model, settings, tuple(ids), todo, total=len(shards))


def _settings(config: SegmentConfig, query: QueryConfig) -> str:
    """All that decides on a mask beside model and image, as JSON; the size of a shard is not part of it."""
    noise = {"noise_sd": query.noise_sd, "seed": query.seed} if config.views == "recipe" else {}
    return json.dumps(
        {"views": config.views, "largest_part": config.largest_part, "forward_batch": config.forward_batch} | noise,
        sort_keys=True,
    )


def _sha(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _slices(ids: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (ids[start : start + size] for start in range(0, len(ids), size))


def _outcomes(store: Store, rows: Iterable[SegmentRow]) -> dict[str, bool]:
    """Every image of these shards, and whether it could be read."""
    table = store.segments.measures(rows, columns=["image_id", "reason"])
    return {
        image_id: reason is None
        for image_id, reason in zip(table["image_id"].to_pylist(), table["reason"].to_pylist(), strict=True)
    }


def _readable_again(store: Store, rows: Sequence[SegmentRow]) -> list[str]:
    """Images of these shards that could not be read then and can be now, ascending."""
    if not any(row.unreadable for row in rows):
        return []
    failed = [image_id for image_id, was_read in sorted(_outcomes(store, rows).items()) if not was_read]
    return [image_id for image_id in failed if _can_be_read(store, image_id)]


def _can_be_read(store: Store, image_id: str) -> bool:
    try:
        store.catalogue.load(image_id)
    except (ImageReadError, StoreError):
        return False
    return True


def segment_shard(store: Store, shard: Shard, *, device: str) -> SegmentRow:
    """Segment and measure the images of a shard, keep masks and measures, and record it as done.

    It depends on the shard alone and may be done twice, or by two workers: the result has the same bytes.

    Raises:
        ScoreError: the model's answer is not finite; it names the images.
        StoreError: not one image could be read, so nothing is recorded; or the store cannot be written.
    """
    started = time.monotonic()
    looker, views, largest_part = _looker(store, shard, device)
    found = find_objects(looker, shard.image_ids, views)
    rows = list(_in_threads(lambda one: _row(store, one, largest_part=largest_part), found))
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


def _looker(store: Store, shard: Shard, device: str) -> tuple[Looker, tuple[View, ...], bool]:
    """The model of a shard, ready to look, the views it looks in, and whether only the largest part is kept."""
    where, recipe = choose_device(device), recipe_of(shard.model)
    key = (shard.model.model_id, str(where))
    if key not in _networks:
        _networks.clear()
        weights = store.models.weights(shard.model.model_id)
        _networks[key] = build_network(recipe.network, weights=weights).to(where)
    settings = json.loads(shard.settings)
    query = QueryConfig(
        views="dihedral" if settings["views"] == "dihedral" else "recipe",
        noise_sd=settings.get("noise_sd", 0.0),
        seed=settings.get("seed", 0),
        forward_batch=settings["forward_batch"],
    )
    views = recipe_views(0.0)[:1] if settings["views"] == "none" else views_of(query)
    looker = Looker(
        _networks[key],
        store.catalogue.loader(shard.image_ids),
        query,
        shard.model.side_px,
        where,
        recipe.training.precision,
    )
    return looker, views, settings["largest_part"]


def _in_threads(finish: Callable[[Found | Unreadable], Row], found: Iterable[Found | Unreadable]) -> Iterator[Row]:
    """The rows in the order of what was found, made while the network goes on; a few at a time bound the memory."""
    pending: deque[Future[Row]] = deque()
    pool = ThreadPoolExecutor(WRITERS, thread_name_prefix="measure")
    try:
        for one in found:
            pending.append(pool.submit(finish, one))
            if len(pending) >= IN_WORK:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _row(store: Store, one: Found | Unreadable, *, largest_part: bool) -> Row:
    """What is recorded of one image; its mask is kept first."""
    if isinstance(one, Unreadable):
        return dict.fromkeys(MEASURES.names) | {"image_id": one.image_id, "reason": one.reason}
    probability = one.probability()
    mask = probability >= 0.5
    confidence = expected_dice(mask, probability)
    if largest_part:
        mask = largest_component(mask)
    measures = measure(mask)
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
