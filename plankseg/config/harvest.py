"""The final training, the masks of all images, their audit and their export."""

from typing import Literal

from pydantic import Field

from plankseg.config.choices import BackendName
from plankseg.config.frozen_model import FrozenModel
from plankseg.config.training import SIDE


class FinalConfig(FrozenModel):
    """The final training, after the rounds; everything else is as in the active model's recipe."""

    side_px: int = Field(512, ge=32, le=2048, multiple_of=16, description=SIDE)
    batch_size: int = Field(
        8,
        ge=2,
        title="Images per training step",
        description="The network is adjusted after this number of images (batch size); fewer need less memory.",
    )
    epochs: int = Field(40, ge=1, description="Passes over the training images: more than in a round.")
    labels_only: bool = Field(
        False, title="Answers alone", description="Train only on people's answers, without any automatic masks."
    )
    warm_start: bool = Field(
        True,
        title="Go on from the model in use",
        description="The training goes on from the model in use. Off: it starts anew from the encoder weights.",
    )


class Part(FrozenModel):
    """Which of all images; what is left empty excludes none."""

    role: Literal["all", "source", "pool", "validation"] = Field("all", description="Images of one role, or of all.")
    dataset: str | None = Field(
        None,
        title="Data set",
        description="Images of one data set, named as `plankseg report` lists them under Data. Empty: of all.",
    )
    taxon: str | None = Field(
        None, description="Images of one taxon, written as in Label Studio and in the report. Empty: of all."
    )


class SegmentConfig(FrozenModel):
    """How masks are made."""

    views: Literal["none", "recipe", "dihedral"] = Field(
        "recipe",
        title="Views of an image",
        description="The mean of what the model gives for several views of an image is better than what it gives for "
        "one. recipe: five views (plain, two mirrored, one turned, one with noise). dihedral: eight, turned and "
        "mirrored. none: the image alone, faster.",
    )
    largest_part: bool = Field(
        False, title="Largest part only", description="Keep only the largest connected part of each mask."
    )
    backend: Literal["auto", BackendName] = Field(
        "auto",
        title="Way of computing",
        description="auto: what the model's settings name, else the fastest of what this machine has, tried on some "
        "images. Or one by name. torch: as trained. folded, compiled, openvino: the same network, prepared to be "
        "faster. With -bf16: in numbers of 16 bits, less exact.",
    )
    shard_size: int | None = Field(
        None,
        ge=1,
        le=100_000,
        title="Images per part",
        description="The images are done in parts, of which a run that is ended early loses at most one. Empty: as "
        "many as take a minute on this machine, found on a first small part.",
    )
    forward_batch: int = Field(
        32, ge=1, le=4096, title="Views computed at once", description="More are faster until memory is full."
    )


class AuditConfig(FrozenModel):
    """How many masks a person checks, and which are good enough."""

    masks: int = Field(
        60,
        ge=5,
        le=2_000,
        title="Masks to check",
        description="How many masks are picked at random; a person corrects them in Label Studio. If all of 60 are "
        "good enough, at least 94 % of all masks are (95 % confidence); if all of 300 are, at least 98 %.",
    )
    usable_dice: float = Field(
        0.9,
        gt=0,
        le=1,
        title="Good enough: minimum Dice",
        description="A mask is good enough if its Dice to the corrected mask is at least this. Dice: overlap of two "
        "masks, 0 for none, 1 for the same.",
    )
    seed: int = Field(
        0,
        ge=0,
        title="Random seed",
        description="Start of the random choice. Another number gives another sample, in an audit of its own.",
    )


class ExportConfig(FrozenModel):
    """What is written in addition to the masks: a table of measurements, and zips that EcoTaxa imports."""

    pixel_size_mm: float | None = Field(
        None,
        gt=0,
        le=1,
        title="Pixel size (mm)",
        description="Side of a pixel in mm, for measurements in mm too (ZooScan at 2400 dpi: 0.0106).",
    )
    ecotaxa: bool = Field(
        True, title="EcoTaxa", description="Write zips for EcoTaxa: images without background, and their measurements."
    )
    image_format: Literal["png", "jpeg"] = Field("png", description="Format of the images in the zips.")
    folder: str | None = Field(
        None,
        description="Folder for table and zips, on the computer where plankseg runs; empty: 'exports' in the store's "
        "folder.",
    )
