"""Which images does a run over the archive still have to do? A list that is cut the same way every time.

A job is a model, a way of looking and a list of images; its shards are fixed slices of that list, so a run that was
killed finds the same shards again and does those that are missing. Images that an earlier job of the same model and the
same way of looking has done are not done again; images that could not be read then are, once they can be.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from plankseg.config import Part, QueryConfig, SegmentConfig
from plankseg.errors import EmptyPoolError, ImageReadError, StoreError
from plankseg.querying.ids import SortedIds
from plankseg.rounds.progress import recipe_of
from plankseg.storage.models import ModelRow
from plankseg.storage.segments import SegmentRow
from plankseg.storage.store import Store


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

    Where the backend is still `auto` the network looks as it was trained: `backend_for` says what is better.
    Raises EmptyPoolError when no image belongs to the part.
    """
    ids = images_of(store, part)
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


def _settings(config: SegmentConfig, query: QueryConfig) -> str:
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
    return [image_id for image_id in failed if _can_be_read(store, image_id)]


def _can_be_read(store: Store, image_id: str) -> bool:
    try:
        store.catalogue.load(image_id)
    except (ImageReadError, StoreError):
        return False
    return True
