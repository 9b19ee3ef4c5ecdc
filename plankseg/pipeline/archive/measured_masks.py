"""Masks and measures from a model's predictions: the same bits in the flow `segment` and in `plankseg predict`."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from plankseg.config import QueryConfig
from plankseg.imaging.arrays import Grey, Mask
from plankseg.imaging.framing import Framing
from plankseg.imaging.masks import largest_component
from plankseg.imaging.postprocessing import Postprocessing
from plankseg.imaging.shape import expected_dice, measure_shape
from plankseg.inference.backends import Backend
from plankseg.inference.prediction import Prediction
from plankseg.inference.predictor import TTAPredictor
from plankseg.inference.tta import recipe_views

Measures = dict[str, object]


@dataclass(frozen=True)
class MaskMaker:
    """How a prediction becomes a mask: the model's post-processing, and whether only the largest part is kept."""

    postprocessing: Postprocessing
    largest_part: bool

    @classmethod
    def of(cls, postprocessing: Postprocessing, settings: str) -> "MaskMaker":
        """By the settings of a job, see `shards.settings_of`."""
        return cls(postprocessing, largest_part=json.loads(settings)["largest_part"])

    @property
    def uses_image(self) -> bool:
        """Whether masks depend on the image beside the prediction."""
        return self.postprocessing.uses_image

    def mask_and_measures(self, prediction: Prediction, grey: Grey | None = None) -> tuple[Mask, Measures]:
        """The mask at the image's own size, and its measures in pixels; the confidence is that before parts go.

        `grey` is the image, needed where `uses_image` says so.
        """
        mask = self.postprocessing.mask_of(prediction.probability, grey)
        confidence = expected_dice(mask, prediction.probability)
        if self.largest_part:
            mask = largest_component(mask)
        return mask, measures_of_mask(mask) | {"confidence": confidence, "agreement": prediction.agreement}


def measures_of_mask(mask: Mask) -> Measures:
    """Size and shape of a mask, in pixels, whoever made it; what only a model can say of it is None."""
    measures = measure_shape(mask)
    size = {"width": mask.shape[1], "height": mask.shape[0], "empty": measures.empty}
    return size | asdict(measures) | {"confidence": None, "agreement": None}


def archive_predictor(
    backend: Backend, load: Callable[[str], Grey], *, framing: Framing, settings: str
) -> TTAPredictor:
    """A model in its backend, with the views that the settings of a job ask for."""
    given: Mapping[str, Any] = json.loads(settings)
    query = QueryConfig(
        views="dihedral" if given["views"] == "dihedral" else "recipe",
        noise_sd=given.get("noise_sd", 0.0),
        seed=given.get("seed", 0),
        forward_batch=given["forward_batch"],
    )
    views = recipe_views(0.0)[:1] if given["views"] == "none" else ()
    return TTAPredictor(backend, load, query, framing, views)
