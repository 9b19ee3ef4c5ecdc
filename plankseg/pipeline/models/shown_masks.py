"""A few masks that a model made of validation images, kept with it so that reports show models one after the other."""

from collections.abc import Mapping, Sequence
from typing import Any

from plankseg.imaging.arrays import Mask
from plankseg.stable_hash import stable_hash
from plankseg.storage.store import Store

SHOWN = 3
"""Images of which masks are kept; they are drawn by their ids alone, the same for every model."""


def shown_images(image_ids: Sequence[str]) -> list[str]:
    """Which of these images are shown: drawn at random once for all, not chosen because they look well."""
    return sorted(image_ids, key=lambda image_id: (stable_hash("shown in reports", image_id), image_id))[:SHOWN]


def keep_shown_masks(store: Store, masks: Mapping[str, Mask]) -> dict[str, str]:
    """Store the masks of the images that are shown; by image the sha of its PNG, for the model's metrics."""
    from plankseg.imaging.masks import encode_mask  # loads OpenCV, which a look at the status must not

    return {image_id: store.blobs.put(encode_mask(masks[image_id]), "png") for image_id in shown_images(sorted(masks))}


def shown_masks(metrics: Mapping[str, Any]) -> dict[str, str]:
    """By image the sha of the mask that was kept with a model; empty for models of an older plankseg."""
    return dict(metrics.get("shown_masks", {}))
