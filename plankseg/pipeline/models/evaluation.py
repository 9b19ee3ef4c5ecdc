"""Evaluation of a model on images of the store: predicted masks, and measures where masks are known."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from plankseg.config import Recipe, Settings
from plankseg.imaging.arrays import Grey, Mask, Probability
from plankseg.imaging.framing import Framing
from plankseg.imaging.mask_metrics import dice_off_outline
from plankseg.imaging.postprocessing import PLAIN, Postprocessing
from plankseg.learning.network.architecture import build_network, choose_device
from plankseg.learning.network.forward import Predictor
from plankseg.learning.network.memory_layout import place
from plankseg.learning.scorecard import measure, scorecard
from plankseg.pipeline.models.recipes import framing_of, postprocessing_of, recipe_of
from plankseg.storage.store import Store
from plankseg.storage.tables.models import ModelRow

READ_AT_ONCE = 32


@dataclass(frozen=True)
class Evaluator:
    """A model with the store whose images it predicts, as in its own validation: one view, native size."""

    store: Store
    predictor: Predictor
    framing: Framing
    postprocessing: Postprocessing = PLAIN

    @classmethod
    def of_weights(
        cls, store: Store, weights: bytes, recipe: Recipe, framing: Framing, settings: Settings
    ) -> "Evaluator":
        """For a whole model's safetensors. Raises what `build_network` raises."""
        device = choose_device(settings.device)
        network = place(build_network(recipe.network, weights=weights), device)
        return cls(store, Predictor(network, device, recipe.training.precision), framing)

    @classmethod
    def of_model(cls, store: Store, model: ModelRow, settings: Settings) -> "Evaluator":
        """For a stored model. Raises what `Models.weights` and `build_network` raise."""
        weights = store.models.weights(model.model_id)
        plain = cls.of_weights(store, weights, recipe_of(model), framing_of(model), settings)
        return plain.with_postprocessing(postprocessing_of(model))

    def with_postprocessing(self, postprocessing: Postprocessing) -> "Evaluator":
        """The same model with its masks post-processed."""
        return replace(self, postprocessing=postprocessing)

    def masks(self, image_ids: Sequence[str]) -> Iterator[Mask]:
        """The predicted masks, one after the other, at native size."""
        for grey, probability in self.probabilities(image_ids):
            yield self.postprocessing.mask_of(probability, grey)

    def probabilities(self, image_ids: Sequence[str]) -> Iterator[tuple[Grey, Probability]]:
        """The images and the probabilities of the object, one after the other, at native size."""
        for first in range(0, len(image_ids), READ_AT_ONCE):
            greys = [self.store.catalogue.load(image_id) for image_id in image_ids[first : first + READ_AT_ONCE]]
            yield from zip(greys, self.predictor.predict(greys, self.framing), strict=True)

    def scorecard(self, image_ids: Sequence[str], load_mask: Callable[[str], Mask]) -> dict[str, Any]:
        """All measures of the model on images with masks, see `scorecard_of`."""
        return scorecard_of(self.store, self.masks_of(image_ids), load_mask)

    def masks_of(self, image_ids: Sequence[str]) -> dict[str, Mask]:
        """The predicted mask of each image."""
        return dict(zip(image_ids, self.masks(image_ids), strict=True))


def scorecard_of(store: Store, masks: Mapping[str, Mask], load_mask: Callable[[str], Mask]) -> dict[str, Any]:
    """All measures of masks by whatever method, and Dice off the outline of each image."""
    truths = {image_id: load_mask(image_id) for image_id in masks}
    measured = {image_id: measure(mask, truths[image_id]) for image_id, mask in masks.items()}
    card = scorecard(measured, {row.image_id: row.taxon for row in store.catalogue.rows(list(masks))})
    off_outline = {i: round(dice_off_outline(mask, truths[i]), 5) for i, mask in masks.items()}
    return card | {"dice_off_outline": off_outline}
