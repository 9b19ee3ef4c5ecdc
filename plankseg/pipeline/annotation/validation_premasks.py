"""Pre-masks of the active model for validation images that wait for a person."""

from collections.abc import Mapping
from dataclasses import dataclass

from plankseg.config import Settings
from plankseg.errors import TrainingError
from plankseg.imaging.arrays import Mask
from plankseg.pipeline.annotation.validation_images import unmasked
from plankseg.pipeline.models.evaluation import predicted_masks
from plankseg.pipeline.models.recipes import postprocessing_of, recipe_of
from plankseg.storage.store import Store


@dataclass(frozen=True)
class Premasks:
    """Masks by image, and the model that made them."""

    model_id: str
    masks: Mapping[str, Mask]


def premasks_of_active(store: Store, settings: Settings) -> Premasks:
    """A pre-mask for every unmasked image that can be read. Raises TrainingError where there is no model."""
    model = store.models.active()
    if model is None:
        raise TrainingError("There is no model to draw pre-masks; run 'pretrain' first, or leave premasks off.")
    ids = [image_id for image_id in unmasked(store) if not store.catalogue.is_lost(image_id)]
    weights = store.models.weights(model.model_id)
    masks = predicted_masks(
        store,
        ids,
        settings,
        weights=weights,
        recipe=recipe_of(model),
        side_px=model.side_px,
        postprocessing=postprocessing_of(model),
    )
    return Premasks(model.model_id, dict(zip(ids, masks, strict=True)))
