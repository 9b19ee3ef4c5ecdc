"""Which image takes the place of one that a person skipped?"""

from collections.abc import Iterator

import numpy as np

from plankseg.config import Settings
from plankseg.errors import ImageReadError, StoreError
from plankseg.imaging.masks import encode_mask
from plankseg.inference.predictor import look as look_at
from plankseg.learning.network.architecture import build_network, choose_device
from plankseg.pipeline.acquisition.propose import model_of, premask
from plankseg.pipeline.loop.progress import read_progress
from plankseg.pipeline.models.backend_choice import select_backends
from plankseg.pipeline.models.recipes import postprocessing_of, recipe_of
from plankseg.pipeline.pool.candidates import choosable
from plankseg.storage.store import Store
from plankseg.storage.tables.proposals import ProposalRow


def replace_skipped(store: Store, settings: Settings, *, round_number: int) -> dict[str, str]:
    """Ask for the next best image in place of each skipped one: by the round's own scores and with its own model.

    Each is one commit, so a kill in between loses nothing and asks for none twice. Skipped images that find no
    replacement, because the pool is empty, stay without. The replacement of each skipped image.
    """
    asked = store.proposals.asked(round_number)
    first = next(row for row in asked if row.replaces is None)
    model = model_of(store, asked)
    recipe = recipe_of(model)
    device = choose_device(settings.device)
    network = build_network(recipe.network, weights=store.models.weights(model.model_id)).to(device)
    eyes = select_backends(store, model, network, recipe, device=device, precision=recipe.training.precision)
    waiting = _next_best(store, round_number, seed=first.seed)
    replaced: dict[str, str] = {}
    for skipped, image_id in zip(sorted(read_progress(store).skipped), waiting, strict=False):
        (looked,) = look_at(eyes.backend, [image_id], store.catalogue.load, query=recipe.query, side_px=model.side_px)
        row = ProposalRow(
            round=round_number,
            image_id=image_id,
            uncertainty=looked.uncertainty,
            chosen=True,
            premask_sha=store.blobs.put(encode_mask(premask(looked, postprocessing_of(model))), "png"),
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
    """Readable images that may still be asked for: those the round scored, most uncertain first, then a random draw."""
    left = choosable(store)
    scores = {
        row.image_id: row.uncertainty
        for row in store.proposals.of_round(round_number)
        if row.image_id in left and row.uncertainty is not None
    }
    rest = left.without(scores)
    order = np.random.default_rng([seed, round_number, 3]).permutation(len(rest))
    for image_id in (*sorted(scores, key=lambda i: (-scores[i], i)), *(rest[place] for place in order)):
        try:
            store.catalogue.load(image_id)
        except (ImageReadError, StoreError):
            continue  # the next proposal that draws it names it as unreadable
        yield image_id
