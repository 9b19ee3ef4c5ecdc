"""Facts of a model that go with its weights: everything that another program needs to make the same masks.

They are the JSON file of an exported model, and the metadata of its ONNX file. Reading them runs no code, and names of
networks are checked, so that a stranger's file makes nothing load from anywhere.
"""

import json
import re
from dataclasses import asdict
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from plankseg.config import FrozenModel, Recipe
from plankseg.errors import ModelError
from plankseg.imaging.framing import Framing
from plankseg.imaging.postprocessing import Postprocessing
from plankseg.inference.backend_benchmark import BackendChoice
from plankseg.inference.onnx_graph import TOLERANCE
from plankseg.learning.network.preprocessing import CHANNEL_DEVIATIONS, CHANNEL_MEANS
from plankseg.pipeline.models.recipes import postprocessing_of, recipe_of
from plankseg.pipeline.models.standings import Half, recorded_verdict, standings_of
from plankseg.storage.tables.models import ModelRow

_ENCODER = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_LARGEST = 2**20  # bytes of the facts: a few thousand are usual
Normalisation = tuple[float, float, float]


class Preprocessing(FrozenModel):
    """How an image becomes the network's input."""

    grey: str = "ITU-R 601 luminance, 8 bits; transparency over white"
    letterbox: str = (
        "into a square of side_px, or as recipe.training.largest_zoom says; aspect kept, centred, area mean "
    )
    "when shrinking, linear when growing"
    padding: str = "median of the image's border pixels"
    divided_by: Literal[255] = 255
    channels: Literal[3] = Field(3, description="The same grey in each.")
    mean: Normalisation = CHANNEL_MEANS
    deviation: Normalisation = CHANNEL_DEVIATIONS

    @model_validator(mode="after")
    def _as_here(self) -> Self:
        if (self.mean, self.deviation) != (CHANNEL_MEANS, CHANNEL_DEVIATIONS):
            raise ValueError(f"mean {self.mean} and deviation {self.deviation} are not those that plankseg uses")
        return self


class PostprocessingFacts(FrozenModel):
    """What is done to a mask: cut, holes, parts; the outline, then holes and parts again; the automatic mask."""

    cut: float = Field(0.5, ge=0, le=1, description="Of the mean probability of the views, at the image's own size.")
    fill_holes: bool = False
    smallest_part: float = Field(0.0, ge=0, le=1, description="Share of the largest part's area; smaller parts go.")
    largest_only: bool = False
    automatic_above: float | None = Field(
        None, ge=0, le=1, description="The automatic mask is taken where its Dice to this mask is at least so much."
    )
    outline_reach_px: int = Field(
        0, ge=0, le=64, description="Pixels so close to the outline are decided by their grey; 0: none are."
    )
    outline_share: float = Field(
        0.25, ge=0, le=1, description="Of the local contrast: where the outline is drawn then."
    )

    def as_used(self) -> Postprocessing:
        """The same as what works on masks."""
        return Postprocessing(**self.model_dump())


class StandingFacts(FrozenModel):
    """Dice of the model or of a conventional method on one half of the validation images."""

    half: Half
    masks_by: str
    images: int
    dice: float
    tenth_percentile: float
    share_below_08: float


class TrainingFacts(FrozenModel):
    """How the model came about, and how good it was found to be."""

    round: int
    epochs: int
    trained_at: str
    parent: str | None = None
    training_images: int | None = None
    corrections: int | None = None
    validation_dice: float | None = None
    validation_interval: tuple[float, float] | None = Field(None, description="95 %, bootstrap over images.")
    validation_set: str | None = None
    reason: str = ""
    standings: tuple[StandingFacts, ...] = ()
    against_rival: str | None = None


class OnnxFacts(FrozenModel):
    """How `model.onnx` compared with the network in torch when it was written."""

    opset: int
    images: int = Field(description="Real images it was compared on, beside noise.")
    largest_difference: float = Field(description="Of a probability, 0 to 1.")
    tolerance: float = TOLERANCE


class Licences(FrozenModel):
    """What a person who passes the model on should know."""

    code: str = "Apache-2.0 (plankseg)"
    encoder_weights: str = "random start: no licence of others"
    images: str = (
        "Weights may carry the terms of the images they were trained on: name the archives and their licences."
    )


class ModelFacts(FrozenModel):
    """One model, without its weights; `model_id` is the sha256 of its safetensors file."""

    format: Literal["plankseg model 1"] = "plankseg model 1"
    model_id: str = Field(pattern=r"^[0-9a-f]{64}$")
    side_px: int = Field(ge=32, le=8192, multiple_of=16)
    classes: tuple[Literal["object"]] = ("object",)
    preprocessing: Preprocessing = Preprocessing()
    postprocessing: PostprocessingFacts
    recipe: Recipe
    training: TrainingFacts
    licences: Licences = Licences()
    onnx: OnnxFacts | None = None
    backends: tuple[BackendChoice, ...] = Field((), description="What computes it fastest, by machine.")

    @field_validator("recipe")
    @classmethod
    def _names_a_plain_encoder(cls, recipe: Recipe) -> Recipe:
        if not _ENCODER.fullmatch(recipe.network.encoder):
            raise ValueError(f"encoder {recipe.network.encoder[:80]!r} is no plain name, and nothing else is loaded")
        return recipe

    @property
    def framing(self) -> Framing:
        """How images are laid into squares: of one side, or keeping their scale where the recipe says so."""
        return Framing(self.side_px, self.recipe.training.largest_zoom)

    def as_json(self) -> str:
        """As a person can read it, the same facts giving the same text."""
        return json.dumps(self.model_dump(mode="json"), indent=1) + "\n"

    @classmethod
    def parse(cls, text: str | bytes, source: str) -> "ModelFacts":
        """The facts in a file. Raises ModelError, which names the file, for anything else."""
        if len(text) > _LARGEST:
            raise ModelError(f"The facts in {source} have {len(text)} bytes; those of a model have a few thousand.")
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            at = ".".join(map(str, first["loc"])) or "its JSON"
            raise ModelError(
                f"{source} does not describe a model that this plankseg can use: {at}: {first['msg']}. Export the "
                "model again with `plankseg export-model`, or use the plankseg that wrote it."
            ) from error


def facts_of(model: ModelRow, backends: tuple[BackendChoice, ...] = ()) -> ModelFacts:
    """The facts of a stored model; a path in its recipe becomes 'none', for it means nothing elsewhere."""
    recipe, metrics = recipe_of(model), json.loads(model.metrics)
    verdict = recorded_verdict(metrics)
    start = recipe.network.encoder_weights
    if start.endswith(".safetensors"):
        network = recipe.network.model_copy(update={"encoder_weights": "none"})
        recipe = recipe.model_copy(update={"network": network})
    return ModelFacts(
        model_id=model.model_id,
        side_px=model.side_px,
        postprocessing=PostprocessingFacts(**asdict(postprocessing_of(model))),
        recipe=recipe,
        training=TrainingFacts(
            round=model.round,
            epochs=model.epochs,
            trained_at=model.created_at.isoformat(timespec="seconds"),
            parent=model.parent,
            training_images=metrics.get("examples"),
            corrections=metrics.get("corrections"),
            validation_dice=model.validation_dice,
            validation_interval=metrics.get("dice_interval"),
            validation_set=model.validation_set,
            reason=model.reason,
            standings=_standings(metrics),
            against_rival=verdict.words() if verdict else None,
        ),
        licences=Licences(encoder_weights=_weights_note(start, recipe.network.encoder)),
        backends=backends,
    )


def _standings(metrics: dict[str, Any]) -> tuple[StandingFacts, ...]:
    halves: tuple[Half, ...] = ("selection", "test")
    return tuple(
        StandingFacts(
            half=half,
            masks_by=standing.name,
            images=standing.images,
            dice=standing.dice,
            tenth_percentile=standing.tenth_percentile,
            share_below_08=standing.below_08,
        )
        for half in halves
        for standing in standings_of(metrics, half, model="this model")
    )


def _weights_note(start: str, encoder: str) -> str:
    if start == "none":
        return "random start: no licence of others"
    if start.endswith(".safetensors"):
        return f"started from a file of weights for {encoder}: add where it came from, and its licence"
    return (
        f"started from {start} weights of {encoder}, whose terms are those of their publisher; ImageNet's images are "
        "for research"
    )
