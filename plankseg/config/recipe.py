"""`Recipe`: everything scientific about a run."""

from typing import Literal

from pydantic import Field

from plankseg.config.choices import AssistMethod, BackendName
from plankseg.config.frozen_model import FrozenModel
from plankseg.config.query import QueryConfig
from plankseg.config.training import NetworkConfig, TrainingConfig
from plankseg.config.validation import ValidationConfig


class InferenceConfig(FrozenModel):
    """How the network is computed: the fastest way on this machine that gives nearly the same masks and ranking."""

    backend: Literal["auto", BackendName] = Field(
        "auto",
        title="Way of computing",
        description="auto: the fastest of what this machine has, tried on some images of the pool. Or one by name. "
        "torch: as trained. folded, compiled, openvino: the same network, prepared to be faster. With -bf16: in "
        "numbers of 16 bits, less exact.",
    )
    int8: bool = Field(
        True,
        title="Try whole numbers of 8 bits",
        description="Faster still, good enough to order images by their uncertainty. Masks are never computed so.",
    )
    calibration_images: int = Field(
        16,
        ge=4,
        le=500,
        title="Images to try the ways on",
        description="Number of images of the pool that are tried; a smaller pool is computed the plain way (torch).",
    )
    min_dice: float = Field(
        0.98,
        ge=0,
        le=1,
        title="Masks: least agreement",
        description="The masks of a faster way must agree with those of the plain way (torch, 32 bits) to this mean "
        "Dice.",
    )
    min_rank_correlation: float = Field(
        0.98,
        ge=-1,
        le=1,
        title="Order of the images: least agreement",
        description="A faster way must put the images into nearly the same order of uncertainty as the plain way "
        "(rank correlation; 1: exactly the same).",
    )
    seed: int = Field(
        0,
        ge=0,
        title="Random seed",
        description="Start of the random choice of the images that are tried: the same number gives the same images.",
    )


class MasksConfig(FrozenModel):
    """What becomes of the network's masks before anybody sees them."""

    postprocessing: Literal["none", "choose"] = Field(
        "none",
        title="Tidy masks",
        description="none: masks are as the network gives them. choose: holes are filled, small parts dropped "
        "and outlines drawn where the grey of the image changes, where that makes the masks of the validation images "
        "better; decided once for each model, and done wherever its masks are made.",
    )


class AssistConfig(FrozenModel):
    """What a click in Label Studio does, and which holes are filled in answers. No model's masks change by it."""

    method: AssistMethod = Field(
        "network",
        title="What a click adds",
        description="How the part that a click means is found. network: by a small network for clicks, which comes "
        "with the installation. contrast: what has the grey of the click and is joined to it. disc: the largest disc "
        "around the click that does not reach the mask's outline.",
    )
    fill_holes_px: int = Field(
        30,
        ge=0,
        le=100_000,
        title="Fill holes of at most (px)",
        description="Holes of at most this number of pixels are filled in answers; 0: none.",
    )


class RoundsConfig(FrozenModel):
    """When to stop, what counts as effort, which images two people get, and what becomes of skipped images."""

    budget: int = Field(10, ge=1, title="Rounds in all", description="No round is begun after this number of them.")
    redrawn_below: float = Field(
        0.95,
        gt=0,
        le=1,
        title="Strongly changed: Dice below",
        description="A mask counts as strongly changed if its Dice to the pre-mask is below this.",
    )
    asked_twice: float = Field(
        0.0,
        ge=0,
        le=1,
        title="Share that two people get",
        description="Two people get this share of a round's images, and do not see each other's masks: the Dice of "
        "the two says how far people agree. A round does not wait for the second person. From 0 to 1.",
    )
    replace_skipped: bool = Field(
        False, title="Replace skipped images", description="Choose the next best image for one that was skipped."
    )
    stop_when_flat: bool = Field(
        True,
        title="Stop when nothing improves",
        description="Wait until a person starts the next round, if the last rounds brought neither less effort nor a "
        "better Dice.",
    )
    flat_rounds: int = Field(
        3,
        ge=2,
        le=20,
        title="Rounds without improvement",
        description="After this number of rounds in a row without improvement, the loop waits for a person.",
    )
    flat_effort: float = Field(
        0.05,
        ge=0,
        lt=1,
        title="Least fall of effort",
        description="If the share of strongly changed masks falls by less than this, effort did not fall; 0.05 is one "
        "mask of 20.",
    )
    flat_dice: float = Field(
        0.005,
        ge=0,
        lt=1,
        title="Least rise of Dice",
        description="If the Dice on the validation images rises by less than this, it did not rise.",
    )


class Recipe(FrozenModel):
    """Everything scientific about a run, with the published defaults."""

    network: NetworkConfig = NetworkConfig()
    training: TrainingConfig = TrainingConfig()
    query: QueryConfig = Field(QueryConfig(), title="Choice of images")
    rounds: RoundsConfig = Field(RoundsConfig(), title="Rounds and when to stop")
    validation: ValidationConfig = Field(ValidationConfig(), title="Validation images")
    inference: InferenceConfig = Field(InferenceConfig(), title="Speed of computing")
    masks: MasksConfig = MasksConfig()
    assist: AssistConfig = Field(AssistConfig(), title="Clicks and answers in Label Studio")
