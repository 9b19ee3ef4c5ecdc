"""Replacement of skipped images: the next best image in place of each one that a person skipped."""

from collections.abc import Iterator

import numpy as np

from plankseg.config import Settings
from plankseg.imaging.masks import encode_mask
from plankseg.inference.predictor import TTAPredictor
from plankseg.learning.network.architecture import choose_device
from plankseg.pipeline.acquisition.propose import model_of, premask
from plankseg.pipeline.loop.progress import read_progress
from plankseg.pipeline.models.backend_choice import select_backends
from plankseg.pipeline.models.loading import load_network
from plankseg.pipeline.models.recipes import framing_of, recipe_of
from plankseg.pipeline.pool.candidates import choosable
from plankseg.storage.store import Store
from plankseg.storage.tables.proposals import ProposalRow


def replace_skipped(store: Store, settings: Settings, *, round_number: int) -> dict[str, str]:
    """Propose the next best image in place of each skipped one, by the round's own scores and with its own model.

    Each is one commit, so a kill in between loses nothing and proposes none twice. Skipped images for which the pool
    has no image left stay without a replacement. Returns the replacement of each skipped image.
    """
    proposed = store.proposals.asked(round_number)
    first = next(row for row in proposed if row.replaces is None)
    model = model_of(store, proposed)
    recipe = recipe_of(model)
    network = load_network(store, model, choose_device(settings.device))
    backend = select_backends(store, model, network, recipe).for_masks
    predictor = TTAPredictor(backend, store.catalogue.load, recipe.query, framing_of(model))
    candidates = _next_best(store, round_number, seed=first.seed)
    replaced: dict[str, str] = {}
    for skipped, image_id in zip(sorted(read_progress(store).skipped), candidates, strict=False):
        (prediction,) = predictor.predict([image_id])
        row = ProposalRow(
            round=round_number,
            image_id=image_id,
            uncertainty=prediction.uncertainty,
            chosen=True,
            premask_sha=store.blobs.put(encode_mask(premask(prediction, model, store.catalogue.load)), "png"),
            model_id=model.model_id,
            seed=first.seed,
            manifest_sha=first.manifest_sha,
            replaces=skipped,
        )
        store.catalogue.keep_copies([image_id])
        if store.proposals.replace(row):
            replaced[skipped] = image_id
    return replaced


def _next_best(store: Store, round_number: int, *, seed: int) -> Iterator[str]:
    """Readable images that may be proposed: those the round scored, most uncertain first, then others at random.

    An unreadable one is skipped here: the next proposal that draws it names it.
    """
    left = choosable(store)
    scores = {
        row.image_id: row.uncertainty
        for row in store.proposals.of_round(round_number)
        if row.image_id in left and row.uncertainty is not None
    }
    rest = left.without(scores)
    order = np.random.default_rng([seed, round_number, 3]).permutation(len(rest))
    ranked = sorted(scores, key=lambda image_id: (-scores[image_id], image_id))
    for image_id, _ in store.catalogue.readable((*ranked, *(rest[index] for index in order))):
        yield image_id
