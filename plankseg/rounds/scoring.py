"""How unsure is a model of these images of the store? What it scored before is looked up, the rest is kept at once."""

from collections.abc import Callable, Sequence

from plankseg.config import Recipe
from plankseg.querying.reading_ahead import Unreadable
from plankseg.querying.scoring import score
from plankseg.rounds.inferring import Eyes, score_key
from plankseg.storage.models import ModelRow
from plankseg.storage.store import Store

KEPT_AT_ONCE = 240  # images a commit; a killed run scores at most so many again


def score_images(
    store: Store,
    eyes: Eyes,
    model: ModelRow,
    recipe: Recipe,
    image_ids: Sequence[str],
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[dict[str, float], dict[str, str]]:
    """The scores of the images that are known or can be read, and for each of the others why it cannot.

    What is known is not read again, so an image that has gone since may have a score. Raises ScoreError.
    """
    key, wanted = score_key(model, recipe, eyes.inference.backend), sorted(set(image_ids))
    scores = store.scores.known(key, wanted)
    missing = [image_id for image_id in wanted if image_id not in scores]
    bad: list[Unreadable] = []

    for start in range(0, len(missing), KEPT_AT_ONCE):
        before = len(scores) + len(bad)

        def tell(done: int, _: int, before: int = before) -> None:
            if on_progress is not None:
                on_progress(before + done, len(wanted))

        found = score(
            eyes.backend, missing[start : start + KEPT_AT_ONCE], store.catalogue.load,
            query=recipe.query, side_px=model.side_px, on_progress=tell, on_unreadable=bad.append,
        )  # fmt: skip
        store.scores.keep(key, found)
        scores |= found
    return scores, {one.image_id: one.reason for one in bad}
