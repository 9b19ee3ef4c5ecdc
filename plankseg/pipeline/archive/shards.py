"""Shards of the archive: fixed slices of a list of images, so that a killed run resumes with the missing ones.

A job is a model, settings and a list of images; its shards are the same every time. Images that an earlier job of the
same model and settings has segmented are not segmented again; images that could not be read then are, once they can be.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from plankseg.config import Part, QueryConfig, SegmentConfig
from plankseg.errors import EmptyPoolError
from plankseg.pipeline.models.recipes import recipe_of
from plankseg.sorted_ids import SortedIds
from plankseg.storage.store import Store
from plankseg.storage.tables.models import ModelRow
from plankseg.storage.tables.segments import SegmentRow

SHARD_S = 60.0  # of work in a shard: starting one costs less than half a second
FEWEST_SHARDS = 48  # where there are enough images, so that a dozen workers have several and none waits for the last
SMALLEST_SHARD = 100  # images; also of the first one, on which the speed is found


@dataclass(frozen=True)
class Shard:
    """A fixed list of images for one model; `shard_id` names exactly that, and `job` the plan it belongs to."""

    shard_id: str
    job: str
    model: ModelRow
    settings: str
    image_ids: tuple[str, ...]


@dataclass(frozen=True)
class SegmentationJob:
    """What was asked for, and what of it is still to do; `total` counts the shards that are done too."""

    job: str
    model: ModelRow
    settings: str
    image_ids: tuple[str, ...]
    todo: tuple[Shard, ...]
    total: int


def shard_size(images: int, images_per_s: float | None, *, smallest: int) -> int:
    """How many images a shard has: a minute's work, less where there are few images for many workers."""
    at_most = -(-images // FEWEST_SHARDS)
    of_a_minute = at_most if images_per_s is None else int(images_per_s * SHARD_S)
    return max(smallest, min(at_most, of_a_minute))


def plans(store: Store, part: Part, config: SegmentConfig, model: ModelRow) -> Iterator[SegmentationJob]:
    """What is to do, in one job, or in two: where nothing tells how fast the model is here, a first small shard does.

    Do each before asking for the next. Raises EmptyPoolError when no image belongs to the part.
    """
    job = plan(store, part, config, model)
    if config.shard_size is None and len(job.todo) > 1 and not store.segments.done(model.model_id, job.settings):
        yield replace(job, todo=job.todo[:1], total=1)
        job = plan(store, part, config, model)
    yield job


def plan(store: Store, part: Part, config: SegmentConfig, model: ModelRow) -> SegmentationJob:
    """Cut a part of the catalogue into shards; the same catalogue and settings give the same ones.

    Where the backend is still `auto` the network is computed as it was trained: `choose_archive_backend` finds a
    faster one. Without a size in the settings shards take a minute each at the speed of finished ones; the first shards
    are the smallest.
    Raises EmptyPoolError when no image belongs to the part.
    """
    ids = images_of(store, part)
    settings = settings_of(config, recipe_of(model).query)
    finished = store.segments.done(model.model_id, settings)
    size = config.shard_size or _measured_size(len(ids), finished)
    job = _sha(model.model_id, settings, str(size), *ids)
    earlier = _outcomes(store, [row for row in finished if row.job != job])
    fresh = [image_id for image_id in ids if image_id not in earlier]
    again = [image_id for image_id in _readable_again(store, finished) if image_id in ids]
    shards = [
        Shard(_sha(model.model_id, settings, *some), job, model, settings, tuple(some))
        for some in (*_slices(fresh, size), *_slices(again, size))
    ]
    recorded = {row.shard_id for row in finished}
    todo = tuple(shard for shard in shards if shard.shard_id not in recorded)
    return SegmentationJob(job, model, settings, tuple(ids), todo, total=len(shards))


def images_of(store: Store, part: Part) -> SortedIds:
    """The images of a part of the catalogue, ascending. Raises EmptyPoolError when there are none."""
    role = None if part.role == "all" else part.role
    ids = store.catalogue.matching(role=role, dataset=part.dataset, taxon=part.taxon)
    if not ids:
        raise EmptyPoolError(
            f"No image of the catalogue has role {part.role!r}, data set {part.dataset!r} and taxon {part.taxon!r}; "
            "leave a field empty, or run ingest first."
        )
    return ids


def _measured_size(images: int, finished: Sequence[SegmentRow]) -> int:
    """A minute's work at the speed of these shards; of none the smallest."""
    seconds = sum(row.seconds or 0.0 for row in finished)
    if not seconds:
        return SMALLEST_SHARD
    return shard_size(images, sum(row.images for row in finished) / seconds, smallest=SMALLEST_SHARD)


def settings_of(config: SegmentConfig, query: QueryConfig) -> str:
    """All that decides on a mask beside model and image, as JSON; the size of a shard is not part of it."""
    noise = {"noise_sd": query.noise_sd, "seed": query.seed} if config.views == "recipe" else {}
    backend = {} if config.backend == "auto" else {"backend": config.backend}
    return json.dumps(
        {"views": config.views, "largest_part": config.largest_part, "forward_batch": config.forward_batch}
        | noise
        | backend,
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
    return [image_id for image_id, _ in store.catalogue.readable(failed)]
