"""How unsure is a model of these images of the store? What it scored before is looked up, the rest is kept at once.

A score depends on the image and the way of looking alone, so how images are cut into shards, and which process does
which of them, changes no bit of it.
"""

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from plankseg.config import Recipe
from plankseg.errors import SettingsError
from plankseg.inference.backend_benchmark import Inference
from plankseg.inference.predictor import score
from plankseg.inference.prefetch import Unreadable
from plankseg.learning.network.architecture import choose_device
from plankseg.pipeline.archive.shards import shard_size
from plankseg.pipeline.models.backend_choice import InferenceBackends, score_key
from plankseg.pipeline.models.loading import cached_ranker, compute_lock
from plankseg.storage.store import Store
from plankseg.storage.tables.models import ModelRow

KEPT_AT_ONCE = 240  # images a commit; a killed run scores at most so many again
SMALLEST_SHARD = 12  # images; somebody waits for them


@dataclass(frozen=True)
class ScoringShard:
    """Images that a model is to score in one way, in whatever process sees the store and has such a `device`."""

    model: ModelRow
    recipe: Recipe
    inference: Inference
    device: str
    image_ids: tuple[str, ...]


def score_images(
    store: Store,
    eyes: InferenceBackends,
    model: ModelRow,
    recipe: Recipe,
    image_ids: Sequence[str],
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[dict[str, float], dict[str, str]]:
    """The scores of the images that are known or can be read, and for each of the others why it cannot.

    What is known is not read again, so an image that has gone since may have a score. Raises ScoreError.
    """
    key, wanted = score_key(model, recipe, eyes.inference), sorted(set(image_ids))
    scores = store.scores.known(key, wanted)
    missing = [image_id for image_id in wanted if image_id not in scores]
    bad: list[Unreadable] = []

    for start in range(0, len(missing), KEPT_AT_ONCE):
        before = len(scores) + len(bad)

        def tell(done: int, _: int, before: int = before) -> None:
            if on_progress is not None:
                on_progress(before + done, len(wanted))

        found = score(
            eyes.ranker, missing[start : start + KEPT_AT_ONCE], store.catalogue.load,
            query=recipe.query, side_px=model.side_px, on_progress=tell, on_unreadable=bad.append,
        )  # fmt: skip
        store.scores.keep(key, found)
        scores |= found
    return scores, {one.image_id: one.reason for one in bad}


def shards_to_score(
    store: Store, eyes: InferenceBackends, model: ModelRow, recipe: Recipe, image_ids: Sequence[str]
) -> list[ScoringShard]:
    """Those of the images that have no score yet, in slices of at most a minute's work at the speed that was tried."""
    wanted = sorted(set(image_ids))
    known = store.scores.known(score_key(model, recipe, eyes.inference), wanted)
    missing = [image_id for image_id in wanted if image_id not in known]
    size = shard_size(len(missing), eyes.inference.images_per_s, smallest=SMALLEST_SHARD)
    return [
        ScoringShard(
            model, recipe, eyes.inference, eyes.backend.device.type, tuple(missing[start : start + size])
        )
        for start in range(0, len(missing), size)
    ]  # fmt: skip


def score_shard(store: Store, shard: ScoringShard, *, device: str) -> int:
    """Score a shard and keep the scores; return how many images have one. Images that cannot be read are passed over.

    Whoever asks for all of them afterwards is told which those are. Raises SettingsError on a machine whose device is
    another kind than the one the way of looking was tried on, and what `make_backend` and `score` raise.
    """
    kind = choose_device(device).type
    if kind != shard.device:
        raise SettingsError(
            f"{platform.node()} would score on {kind}, but the flow chose {shard.inference.ranks_with} for "
            f"{shard.device}: scores would differ. Run the flow on a machine like its workers, or set PLANKSEG_DEVICE."
        )
    with compute_lock:
        ranker = cached_ranker(store, shard.model, shard.inference, device=device)
        eyes = InferenceBackends(ranker, shard.inference)  # no mask is asked for here
        scores, _ = score_images(store, eyes, shard.model, shard.recipe, shard.image_ids)
    return len(scores)
