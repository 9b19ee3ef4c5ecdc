"""Proposal of a round: the images a person gets next, with their pre-masks."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np
import torch

from plankseg.acquisition.diversity import PoolFacts
from plankseg.acquisition.manifest import Choice, Manifest
from plankseg.acquisition.selectors import PoolScores, Selection, draw_rng, most_to_score, select
from plankseg.config import QueryConfig, Recipe, Settings
from plankseg.errors import EmptyPoolError, TrainingError
from plankseg.imaging.arrays import Grey, Mask
from plankseg.imaging.masks import encode_mask
from plankseg.inference.backend_benchmark import BackendChoice
from plankseg.inference.prediction import Prediction
from plankseg.inference.predictor import TTAPredictor
from plankseg.inference.prefetch import Load
from plankseg.learning.network.architecture import choose_device
from plankseg.pipeline.acquisition.pool_facts import Describer
from plankseg.pipeline.acquisition.score_shards import Scorer, ScoringShard, score_images, shards_to_score
from plankseg.pipeline.models.backend_choice import TrialImages, select_backends
from plankseg.pipeline.models.loading import load_network
from plankseg.pipeline.models.recipes import framing_of, postprocessing_of
from plankseg.pipeline.pool.candidates import choosable
from plankseg.pipeline.pool.near_duplicates import complete_hashes
from plankseg.pipeline.pool.unreadable import record_unreadable
from plankseg.pipeline.pool.unreadable import unreadable as unreadable_ids
from plankseg.sorted_ids import SortedIds
from plankseg.storage.store import Store
from plankseg.storage.tables.models import ModelRow
from plankseg.storage.tables.proposals import ProposalRow


@dataclass(frozen=True)
class Proposal:
    """A round's images in the order of falling uncertainty, with their predictions.

    `pool_size` is the number of images drawn from; `unreadable` were drawn first and left out of it, ascending.
    """

    round: int
    model: ModelRow
    images: tuple[Prediction, ...]
    pool_size: int
    scored: int
    choice: BackendChoice
    unreadable: tuple[str, ...] = ()


class _UnreadableError(Exception):
    """Some of the drawn images cannot be read: `reasons` by id."""

    def __init__(self, reasons: Mapping[str, str]) -> None:
        super().__init__(f"{len(reasons)} drawn images cannot be read")
        self.reasons = reasons


@dataclass(frozen=True)
class ScoringOptions:
    """`spread` has shards scored by other processes; what it leaves is scored here, with `on_progress(done, total)`.

    `instead` gives the scores of images in the model's place, for experiments; they are not recorded.
    """

    on_progress: Callable[[int, int], None] = lambda *_: None
    spread: Callable[[Sequence[ScoringShard]], None] = lambda _: None
    instead: Callable[[Scorer, Sequence[str]], Mapping[str, float]] | None = None


def propose(
    store: Store,
    recipe: Recipe,
    settings: Settings,
    *,
    round_number: int,
    scoring: ScoringOptions | None = None,
) -> Proposal:
    """Draw candidate batches, score their union with the active model, keep the best batch, and commit all of it.

    Deterministic: the same store, recipe and round give the same proposal on a machine of the same kind, so a kill
    before the commit costs time only; recorded scores are not computed again. If the round was proposed already, its
    model predicts its images again and nothing is written. An image that was drawn and cannot be read any more is left
    out with a warning, and the draw is made again.

    Raises:
        TrainingError: there is no model yet.
        EmptyPoolError: nothing is left to propose, or nothing that can be read.
    """
    proposed = store.proposals.asked(round_number)
    model = model_of(store, proposed)
    network = load_network(store, model, choose_device(settings.device))
    complete_hashes(store)
    pool = choosable(store, recipe)
    trial_images = TrialImages(() if proposed else pool, most_to_score(recipe.query, len(pool)))
    backends = select_backends(store, model, network, recipe, trial_images)
    predictor = TTAPredictor(backends.for_masks, store.catalogue.load, recipe.query, framing_of(model))
    if proposed:
        lost = unreadable_ids(store, [row.image_id for row in proposed])
        predictions = tuple(predictor.predict([row.image_id for row in proposed if row.image_id not in lost]))
        return Proposal(round_number, model, predictions, len(pool), 0, backends.choice)
    draw = _Draw(store, Scorer(model, recipe, backends), network, round_number, scoring or ScoringOptions())
    selection, unreadable = draw.select(pool)
    controls = draw.controls(pool.without([*selection.chosen, *unreadable]))
    chosen = sorted(selection.chosen, key=lambda image_id: (-selection.scores[image_id], image_id))
    predictions = tuple(predictor.predict([*chosen, *controls]))
    proposal = Proposal(
        round=round_number,
        model=model,
        images=predictions,
        pool_size=len(pool) - len(unreadable),
        scored=len(selection.scores),
        choice=backends.choice,
        unreadable=unreadable,
    )
    _commit(store, recipe.query, selection, proposal)
    return proposal


def _without_controls(query: QueryConfig) -> QueryConfig:
    """The selector's query: the person gets `batch_size` images in all, the random controls among them."""
    return query.model_copy(update={"batch_size": query.batch_size - query.random_controls, "random_controls": 0})


def _blind(query: QueryConfig, chosen: Iterable[str], round_number: int) -> set[str]:
    """Those of the chosen images that are shown without a pre-mask, drawn at random."""
    ids = sorted(chosen)
    rng = np.random.default_rng([query.seed, round_number, 2])
    return {ids[index] for index in rng.choice(len(ids), size=min(query.blind, len(ids)), replace=False)}


@dataclass(frozen=True)
class _Draw:
    """The random draws of one round from the pool."""

    store: Store
    scorer: Scorer
    network: torch.nn.Module
    round_number: int
    options: ScoringOptions

    @property
    def query(self) -> QueryConfig:
        return self.scorer.recipe.query

    def select(self, pool: SortedIds) -> tuple[Selection, tuple[str, ...]]:
        """Select from the readable images of the pool, and name the images that were drawn and cannot be read.

        Only drawn images are read; each new draw begins with the round's own seed. Of the images with a recorded score
        only the chosen ones are read, so a run that was killed chooses as it would have done.
        """
        query = _without_controls(self.query)
        left, unreadable = pool, set[str]()
        while left:
            try:
                scores = PoolScores(left, self._score, self._describe)
                selection = select(query, scores, draw_rng(query, self.round_number), round_number=self.round_number)
                if reasons := self._unreadable(selection.chosen):
                    raise _UnreadableError(reasons)
                return selection, tuple(sorted(unreadable))
            except _UnreadableError as error:
                record_unreadable(self.store, error.reasons)
                unreadable.update(error.reasons)
                left = left.without(unreadable)
        cannot = f" that can be read: {len(unreadable)} cannot, the log names them" if unreadable else ""
        raise EmptyPoolError(f"No image of the pool is left to propose{cannot}; ingest more, or finish the training.")

    def controls(self, left: SortedIds) -> list[str]:
        """As many readable images as the recipe asks for, drawn at random; fewer where there are no more."""
        order = np.random.default_rng([self.query.seed, self.round_number, 1]).permutation(len(left))
        readable = self.store.catalogue.readable(left[index] for index in order)
        return [image_id for image_id, _ in islice(readable, self.query.random_controls)]

    def _describe(self, image_ids: Sequence[str]) -> PoolFacts:
        describe = Describer(self.store, self.query, self.network, framing_of(self.scorer.model), self._read)
        return describe(image_ids, round_number=self.round_number)

    def _read(self, image_ids: Sequence[str]) -> Mapping[str, Grey]:
        """The pixels of images. Raises _UnreadableError naming those that cannot be read."""
        reasons: dict[str, str] = {}
        images = dict(
            self.store.catalogue.readable(image_ids, lambda image_id, error: reasons.update({image_id: str(error)}))
        )
        if reasons:
            raise _UnreadableError(reasons)
        return images

    def _score(self, image_ids: Sequence[str]) -> Mapping[str, float]:
        if self.options.instead is not None:
            return self.options.instead(self.scorer, image_ids)
        self.options.spread(shards_to_score(self.store, self.scorer, image_ids))
        scores, reasons = score_images(self.store, self.scorer, image_ids, on_progress=self.options.on_progress)
        if reasons:
            raise _UnreadableError(reasons)
        return scores

    def _unreadable(self, image_ids: Iterable[str]) -> dict[str, str]:
        """Those of the images that are missing, changed or damaged, each with the reason."""
        reasons: dict[str, str] = {}
        for _ in self.store.catalogue.readable(
            sorted(image_ids), lambda image_id, error: reasons.update({image_id: str(error)})
        ):
            pass
        return reasons


def model_of(store: Store, proposed: Sequence[ProposalRow]) -> ModelRow:
    """The model that made a proposal; for a new proposal the active model. Raises TrainingError when there is none."""
    model = store.models.active()
    if proposed:
        model = next((row for row in store.models.all() if row.model_id == proposed[0].model_id), None)
    if model is None:
        raise TrainingError("There is no model yet; run the flow 'pretrain' before 'propose'.")
    return model


def premask(prediction: Prediction, model: ModelRow, load: Load) -> Mask:
    """The mask that the person is shown: of the mean of the views, post-processed as the model's record says."""
    postprocessing = postprocessing_of(model)
    grey = load(prediction.image_id) if postprocessing.uses_image else None
    return postprocessing.mask_of(prediction.probability, grey)


def _commit(store: Store, query: QueryConfig, selection: Selection, proposal: Proposal) -> None:
    """Write pre-masks and manifest, then one commit with a row for every image of every candidate batch."""
    choice = Choice(proposal.round, proposal.model.model_id, proposal.pool_size, proposal.choice)
    manifest = Manifest.of(selection, _without_controls(query), choice)
    make_row = partial(
        ProposalRow,
        round=proposal.round,
        model_id=proposal.model.model_id,
        seed=query.seed,
        manifest_sha=store.blobs.put(manifest.to_json(), "json"),
    )
    premasks = {
        prediction.image_id: store.blobs.put(
            encode_mask(premask(prediction, proposal.model, store.catalogue.load)), "png"
        )
        for prediction in proposal.images
    }
    order = {prediction.image_id: index for index, prediction in enumerate(proposal.images)}
    blind = _blind(query, selection.chosen, proposal.round)
    rows = [
        make_row(
            image_id=image_id,
            uncertainty=selection.scores[image_id],
            batch=batch,
            chosen=batch == selection.batch,
            control=False,
            premask_sha=premasks[image_id] if batch == selection.batch else None,
            blind=batch == selection.batch and image_id in blind,
        )
        for batch, image_ids in enumerate(selection.batches)
        for image_id in sorted(image_ids, key=lambda i: (order.get(i, len(order)), i))
    ]
    rows += [
        make_row(
            image_id=prediction.image_id,
            uncertainty=prediction.uncertainty,
            chosen=False,
            control=True,
            premask_sha=premasks[prediction.image_id],
        )
        for prediction in proposal.images
        if prediction.image_id not in selection.chosen
    ]
    store.catalogue.keep_copies(row.image_id for row in rows if row.chosen or row.control)
    store.proposals.commit(proposal.round, rows)
