"""The images that measure models."""

from pydantic import Field

from plankseg.config.frozen_model import FrozenModel


class ValidationConfig(FrozenModel):
    """Images with a person's masks that measure models: where they come from, and what is kept apart from them."""

    ask_for: int = Field(
        0,
        ge=0,
        le=100,
        title="Images to ask a person for",
        description="If there are no validation images, a person is asked, beside round 1, for masks of this number of "
        "images of the pool, at most a tenth of it, picked at random, in a Label Studio project of their own; 0: it "
        "does not ask.",
    )

    near_duplicate_bits: int = Field(
        6,
        ge=0,
        le=20,
        title="Near duplicates: bits that differ",
        description="Images that look nearly like a validation image are never chosen nor trained on. Each "
        "image is summed up in 64 bits; two look nearly alike if at most this number of them differs.",
    )


class ValidationDraw(FrozenModel):
    """Which images of the pool a person masks to measure with."""

    per_class: int = Field(
        2,
        ge=1,
        le=100,
        title="Images of each taxon",
        description="How many images of each taxon to take. Half of the validation images decide which model is "
        "used; the Dice on the other half is only reported. Fewer than 20 in all tell little: with few taxa take more "
        "of each.",
    )
    seed: int = Field(
        0,
        ge=0,
        title="Random seed",
        description="Start of the random choice within each taxon: the same number gives the same images.",
    )
    replace_refused: bool = Field(
        True,
        title="Replace skipped images",
        description="Take the next image of a taxon for one that was skipped or called unusable.",
    )
    premasks: bool = Field(
        False,
        title="Show pre-masks",
        description="Show the masks of the model in use, to correct. Off: the person draws on the bare image, slower, "
        "but the masks that models are measured with are not biased towards one model.",
    )
