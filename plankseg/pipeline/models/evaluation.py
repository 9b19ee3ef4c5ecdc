"""Masks and measures of a stored model on images of the store."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from plankseg.config import Recipe, Settings
from plankseg.imaging.arrays import Mask
from plankseg.imaging.mask_metrics import dice_off_outline
from plankseg.imaging.postprocessing import PLAIN, Postprocessing
from plankseg.learning.network.architecture import build_network, choose_device
from plankseg.learning.network.forward import predict
from plankseg.learning.scorecard import measure, scorecard
from plankseg.storage.store import Store

READ_AT_ONCE = 32


def predicted_masks(
    store: Store,
    image_ids: Sequence[str],
    settings: Settings,
    *,
    weights: bytes,
    recipe: Recipe,
    side_px: int,
    postprocessing: Postprocessing = PLAIN,
) -> Iterator[Mask]:
    """What a model sees in images, one mask after the other, at native size and as in its own validation."""
    device = choose_device(settings.device)
    network = build_network(recipe.network, weights=weights).to(device)
    for first in range(0, len(image_ids), READ_AT_ONCE):
        greys = [store.catalogue.load(image_id) for image_id in image_ids[first : first + READ_AT_ONCE]]
        precision = recipe.training.precision
        for answer in predict(network, greys, side_px=side_px, device=device, precision=precision):
            yield postprocessing.mask_of(answer)


def full_scorecard(
    store: Store,
    image_ids: Sequence[str],
    settings: Settings,
    *,
    load_mask: Callable[[str], Mask],
    weights: bytes,
    recipe: Recipe,
    side_px: int,
    postprocessing: Postprocessing = PLAIN,
) -> dict[str, Any]:
    """All measures of a model on images with masks, see `scorecard_of`."""
    masks = predicted_masks(
        store, image_ids, settings, weights=weights, recipe=recipe, side_px=side_px, postprocessing=postprocessing
    )
    return scorecard_of(store, dict(zip(image_ids, masks, strict=True)), load_mask)


def scorecard_of(store: Store, masks: Mapping[str, Mask], load_mask: Callable[[str], Mask]) -> dict[str, Any]:
    """All measures of masks by whatever method, and Dice off the outline of each image."""
    truths = {image_id: load_mask(image_id) for image_id in masks}
    measured = {image_id: measure(mask, truths[image_id]) for image_id, mask in masks.items()}
    card = scorecard(measured, {row.image_id: row.taxon for row in store.catalogue.rows(list(masks))})
    off_outline = {i: round(dice_off_outline(mask, truths[i]), 5) for i, mask in masks.items()}
    return card | {"dice_off_outline": off_outline}
