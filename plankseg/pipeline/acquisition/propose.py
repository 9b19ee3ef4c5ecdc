"""Which images does a person get next, and with which pre-masks?"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from plankseg.acquisition.manifest import Manifest
from plankseg.acquisition.selectors import PoolScores, Selection, draw_rng, most_to_score, select
from plankseg.config import QueryConfig, Recipe, Settings
from plankseg.errors import EmptyPoolError, ImageReadError, StoreError, TrainingError
from plankseg.imaging.arrays import Mask
from plankseg.imaging.masks import encode_mask
from plankseg.imaging.postprocessing import PLAIN, Postprocessing
from plankseg.inference.backend_benchmark import Inference
from plankseg.inference.predictor import Looked, look
from plankseg.learning.network.architecture import build_network, choose_device
from plankseg.pipeline.acquisition.score_shards import ScoringShard, score_images, shards_to_score
from plankseg.pipeline.models.backend_choice import select_backends
from plankseg.pipeline.models.recipes import postprocessing_of, recipe_of
from plankseg.pipeline.pool.candidates import choosable
from plankseg.pipeline.pool.near_duplicates import complete_hashes
from plankseg.pipeline.pool.unreadable import record_unreadable
from plankseg.pipeline.pool.unreadable import unreadable as unreadable_ids
from plankseg.sorted_ids import SortedIds
from plankseg.storage.store import Store
from plankseg.storage.tables.models import ModelRow
from plankseg.storage.tables.proposals import ProposalRow

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Proposal:
    """A round's images in the order of falling uncertainty, with what the person is shown.

    `pool_size` is what was drawn from; `unreadable` were drawn first and left out of it, ascending. `inference` says
    with which backend they were looked at, and why with that.
    """

    round: int
    model: ModelRow
    images: tuple[Looked, ...]
    pool_size: int
    scored: int
    inference: Inference
    unreadable: tuple[str, ...] = ()


class _UnreadableError(Exception):
    """Some of the drawn images cannot be read: `reasons` by id."""

    def __init__(self, reasons: Mapping[str, str]) -> None:
        super().__init__(f"{len(reasons)} drawn images cannot be read")
        self.reasons = reasons


def propose(
    store: Store,
    recipe: Recipe,
    settings: Settings,
    *,
    round_number: int,
    on_progress: Callable[[int, int], None] | None = None,
    spread: Callable[[Sequence[ScoringShard]], None] | None = None,
) -> Proposal:
    """Draw candidate batches, score their union with the active model, keep the best batch, and commit all of it.

    Deterministic: the same store, recipe and round give the same proposal on a machine of the same kind, so a kill
    before the commit costs time only; what was scored by then is not scored again.
    If the round was proposed already, the model that chose them looks at its images again and nothing is written.
    An image that was drawn and cannot be read any more is left out with a warning, and the draw is made again.
    `spread` has shards scored elsewhere, by `score_shard`; what it leaves is scored here.

    Raises:
        TrainingError: there is no model yet.
        EmptyPoolError: nothing is left to propose, or nothing that can be read.
    """
    there = store.proposals.asked(round_number)
    model = model_of(store, there)
    trained_as = recipe_of(model)
    device = choose_device(settings.device)
    network = build_network(trained_as.network, weights=store.models.weights(model.model_id)).to(device)
    complete_hashes(store)
    pool = choosable(store, recipe)
    unreadable: tuple[str, ...] = ()
    eyes = select_backends(
        store, model, network, recipe,
        device=device, precision=trained_as.training.precision, pool=() if there else pool,
        to_score=most_to_score(recipe.query, len(pool)),
    )  # fmt: skip

    def score_ids(image_ids: Sequence[str]) -> Mapping[str, float]:
        if spread is not None:
            spread(shards_to_score(store, eyes, model, recipe, image_ids))
        scores, reasons = score_images(store, eyes, model, recipe, image_ids, on_progress=on_progress)
        if reasons:
            raise _UnreadableError(reasons)
        return scores

    if there:
        lost = unreadable_ids(store, [row.image_id for row in there])
        chosen = [row.image_id for row in there if row.image_id not in lost]
        selection = None
    else:
        query = _without_controls(recipe.query)
        selection, unreadable = _select(store, query, pool, score_ids, round_number=round_number)
        controls = _controls(store, recipe.query, pool.without([*selection.chosen, *unreadable]), round_number)
        chosen = sorted(selection.chosen, key=lambda image_id: (-selection.scores[image_id], image_id)) + controls
    pool_size = len(pool) - len(unreadable)
    looked = tuple(look(eyes.backend, chosen, store.catalogue.load, query=recipe.query, side_px=model.side_px))
    if selection is not None:
        _commit(
            store, recipe, selection, looked,
            model=model, round_number=round_number, pool_size=pool_size, inference=eyes.inference,
        )  # fmt: skip
    scored = len(selection.scores) if selection else 0
    return Proposal(round_number, model, looked, pool_size, scored, eyes.inference, unreadable)


def _without_controls(query: QueryConfig) -> QueryConfig:
    """What the selector is to choose: the person gets `batch_size` images in all, the random ones among them."""
    return query.model_copy(update={"batch_size": query.batch_size - query.random_controls, "random_controls": 0})


def _controls(store: Store, query: QueryConfig, left: SortedIds, round_number: int) -> list[str]:
    """As many readable images of what is left as the recipe wants, drawn at random; fewer where there are no more."""
    drawn: list[str] = []
    for index in np.random.default_rng([query.seed, round_number, 1]).permutation(len(left)):
        if len(drawn) == query.random_controls:
            break
        if not _unreadable(store, [left[index]]):
            drawn.append(left[index])
    return drawn


def _blind(query: QueryConfig, chosen: Iterable[str], round_number: int) -> set[str]:
    """Those of the chosen images that are shown without a pre-mask, drawn at random."""
    ids = sorted(chosen)
    rng = np.random.default_rng([query.seed, round_number, 2])
    return {ids[index] for index in rng.choice(len(ids), size=min(query.blind, len(ids)), replace=False)}


def _select(
    store: Store,
    query: QueryConfig,
    pool: SortedIds,
    score_ids: Callable[[Sequence[str]], Mapping[str, float]],
    *,
    round_number: int,
) -> tuple[Selection, tuple[str, ...]]:
    """Select from the images of the pool that can be read, and name those found unreadable on the way.

    Only what is drawn is read; each new draw begins with the round's own seed. Of the images whose scores are known
    from before only the chosen ones are read, so a run that was killed chooses as it would have done.
    """
    left, unreadable = pool, set[str]()
    while left:
        try:
            selection = select(query, PoolScores(left, score_ids), draw_rng(query, round_number))
            if reasons := _unreadable(store, selection.chosen):
                raise _UnreadableError(reasons)
            return selection, tuple(sorted(unreadable))
        except _UnreadableError as error:
            record_unreadable(store, error.reasons)
            unreadable.update(error.reasons)
            left = left.without(unreadable)
    cannot = f" that can be read: {len(unreadable)} cannot, the log names them" if unreadable else ""
    raise EmptyPoolError(f"No image of the pool is left to propose{cannot}; ingest more, or finish the training.")


def _unreadable(store: Store, image_ids: Iterable[str]) -> dict[str, str]:
    """Those of the images that are gone, changed or broken, each with the reason."""
    reasons = {}
    for image_id in sorted(image_ids):
        try:
            store.catalogue.load(image_id)
        except (ImageReadError, StoreError) as error:
            reasons[image_id] = str(error)
    return reasons


def model_of(store: Store, there: Sequence[ProposalRow]) -> ModelRow:
    """The model that made a proposal; for a new one the active model."""
    model = store.models.active()
    if there:
        model = next((row for row in store.models.all() if row.model_id == there[0].model_id), None)
    if model is None:
        raise TrainingError("There is no model yet; run the flow 'pretrain' before 'propose'.")
    return model


def premask(looked: Looked, postprocessing: Postprocessing = PLAIN) -> Mask:
    """The mask that the person is shown: where the mean of the views is at least one half, post-processed."""
    return postprocessing.mask_of(looked.probability)


def _commit(
    store: Store,
    recipe: Recipe,
    selection: Selection,
    looked: Sequence[Looked],
    *,
    model: ModelRow,
    round_number: int,
    pool_size: int,
    inference: Inference,
) -> None:
    """Write pre-masks and manifest, then one commit with a row for every image of every candidate batch."""
    manifest = Manifest.of(
        selection,
        query=_without_controls(recipe.query),
        round_number=round_number,
        model_id=model.model_id,
        pool_size=pool_size,
        inference=inference,
    )
    manifest_sha = store.blobs.put(manifest.to_json(), "json")
    postprocessing = postprocessing_of(model)
    premasks = {one.image_id: store.blobs.put(encode_mask(premask(one, postprocessing)), "png") for one in looked}
    order = {one.image_id: index for index, one in enumerate(looked)}
    blind = _blind(recipe.query, selection.chosen, round_number)
    rows = [
        ProposalRow(
            round=round_number,
            image_id=image_id,
            uncertainty=selection.scores[image_id],
            batch=batch,
            chosen=batch == selection.batch,
            control=False,
            premask_sha=premasks[image_id] if batch == selection.batch else None,
            model_id=model.model_id,
            seed=recipe.query.seed,
            manifest_sha=manifest_sha,
            blind=batch == selection.batch and image_id in blind,
        )
        for batch, image_ids in enumerate(selection.batches)
        for image_id in sorted(image_ids, key=lambda i: (order.get(i, len(order)), i))
    ]
    rows += [
        ProposalRow(
            round=round_number,
            image_id=one.image_id,
            uncertainty=one.uncertainty,
            chosen=False,
            control=True,
            premask_sha=premasks[one.image_id],
            model_id=model.model_id,
            seed=recipe.query.seed,
            manifest_sha=manifest_sha,
        )
        for one in looked
        if one.image_id not in selection.chosen
    ]
    store.catalogue.keep_copies(row.image_id for row in rows if row.chosen or row.control)
    store.proposals.commit(round_number, rows)
