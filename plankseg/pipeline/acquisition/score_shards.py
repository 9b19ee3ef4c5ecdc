"""Scores of images of the store by one model: recorded scores are looked up, new ones are computed and recorded.

A score depends on the image, model, backend and query alone: how images are cut into shards, and which process scores
which of them, does not change a bit of it.
"""

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from plankseg.config import Recipe
from plankseg.errors import SettingsError
from plankseg.inference.backend_benchmark import BackendChoice
from plankseg.inference.predictor import TTAPredictor
from plankseg.inference.prefetch import Unreadable
from plankseg.learning.network.architecture import choose_device
from plankseg.pipeline.archive.shards import shard_size
from plankseg.pipeline.models.backend_choice import InferenceBackends, score_key
from plankseg.pipeline.models.loading import cached_score_backend, compute_lock
from plankseg.pipeline.models.recipes import framing_of
from plankseg.storage.store import Store
from plankseg.storage.tables.models import ModelRow

IMAGES_PER_COMMIT = 240  # a killed run scores at most so many again
SMALLEST_SHARD = 12  # images; somebody waits for them


@dataclass(frozen=True)
class ScoringShard:
    """Images that a model is to score, in any process that sees the store and has such a `device`."""

    model: ModelRow
    recipe: Recipe
    choice: BackendChoice
    device: str
    image_ids: tuple[str, ...]


@dataclass(frozen=True)
class Scorer:
    """A model in its backends, and the recipe whose query says how images are scored."""

    model: ModelRow
    recipe: Recipe
    backends: InferenceBackends

    @property
    def key(self) -> str:
        """Everything that a score depends on except the image, as one hash."""
        return score_key(self.model, self.recipe, self.backends.choice)


def score_images(
    store: Store,
    scorer: Scorer,
    image_ids: Sequence[str],
    *,
    on_progress: Callable[[int, int], None] = lambda *_: None,
) -> tuple[dict[str, float], dict[str, str]]:
    """The scores of the images, recorded or new; and for each image that cannot be read the reason.

    Images with a recorded score are not read again, so an image that has gone since may have a score. Raises
    ScoreError.
    """
    ids = sorted(set(image_ids))
    scores = store.scores.known(scorer.key, ids)
    missing = [image_id for image_id in ids if image_id not in scores]
    unreadable: list[Unreadable] = []
    recipe, model = scorer.recipe, scorer.model
    predictor = TTAPredictor(scorer.backends.for_scores, store.catalogue.load, recipe.query, framing_of(model))
    for start in range(0, len(missing), IMAGES_PER_COMMIT):
        before = len(scores) + len(unreadable)
        new = predictor.score(
            missing[start : start + IMAGES_PER_COMMIT],
            on_progress=partial(_tell_total, on_progress, before, len(ids)),
            on_unreadable=unreadable.append,
        )
        store.scores.keep(scorer.key, new)
        scores |= new
    return scores, {item.image_id: item.reason for item in unreadable}


def _tell_total(on_progress: Callable[[int, int], None], before: int, total: int, done: int, _: int) -> None:
    on_progress(before + done, total)


def shards_to_score(store: Store, scorer: Scorer, image_ids: Sequence[str]) -> list[ScoringShard]:
    """The images without a recorded score, in shards of at most a minute's work at the speed of the trial."""
    ids = sorted(set(image_ids))
    known = store.scores.known(scorer.key, ids)
    missing = [image_id for image_id in ids if image_id not in known]
    choice, device = scorer.backends.choice, scorer.backends.for_masks.device.type
    size = shard_size(len(missing), choice.images_per_s, smallest=SMALLEST_SHARD)
    return [
        ScoringShard(scorer.model, scorer.recipe, choice, device, tuple(missing[start : start + size]))
        for start in range(0, len(missing), size)
    ]


def score_shard(store: Store, shard: ScoringShard, *, device: str) -> int:
    """Score a shard and record the scores; return how many images have one.

    Images that cannot be read are skipped here, and reported by `score_images` in the flow. Raises SettingsError on a
    machine whose device is of another kind than the one the backend was chosen on, and what `make_backend` raises.
    """
    kind = choose_device(device).type
    if kind != shard.device:
        raise SettingsError(
            f"{platform.node()} would score on {kind}, but the flow chose {shard.choice.score_backend} for "
            f"{shard.device}: scores would differ. Run the flow on a machine like its workers, or set PLANKSEG_DEVICE."
        )
    with compute_lock:
        backend = cached_score_backend(store, shard.model, shard.choice, device=device)
        backends = InferenceBackends(for_masks=backend, for_scores=backend, choice=shard.choice)  # no mask is made here
        scores, _ = score_images(store, Scorer(shard.model, shard.recipe, backends), shard.image_ids)
    return len(scores)
