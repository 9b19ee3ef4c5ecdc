"""Which network is trained, and how."""

from typing import Literal, Self

from pydantic import Field, model_validator

from plankseg.config.choices import Architecture, Augmentation
from plankseg.config.frozen_model import FrozenModel

SIDE = "Images are made larger or smaller to fill squares of this side; their shape is kept, the rest is filled up."
"""What becomes of images before the network sees them."""


class NetworkConfig(FrozenModel):
    """Which network, and where its weights start."""

    architecture: Architecture = Field("Unet", description="Kind of network. Unet is the published one.")
    encoder: str = Field(
        "resnet34",
        description="The part of the network that recognises shapes; larger ones need a GPU. Any name that the "
        "library segmentation-models-pytorch has.",
    )
    encoder_weights: str = Field(
        "imagenet",
        description="What the encoder knows at the start. imagenet: what it learnt from photographs. none: nothing. "
        "Or the path of a .safetensors file of weights.",
    )
    freeze_encoder: bool = Field(
        False, title="Keep the encoder as it is", description="Train only the rest of the network."
    )


class TrainingConfig(FrozenModel):
    """How long a training is, image size, what it learns from."""

    side_px: int = Field(
        256,
        ge=32,
        le=2048,
        multiple_of=16,
        description=f"{SIDE} Later rounds use larger ones, see below.",
    )
    epochs: int = Field(
        20,
        ge=1,
        description="Number of passes over the training images, or over as many of them as Images per epoch says. "
        "Later rounds have more, see below.",
    )
    grow_from_round: int = Field(
        3,
        ge=1,
        title="Round from which trainings grow",
        description="From this round on, a training has more epochs and larger squares than that of the round before.",
    )
    epochs_per_round: int = Field(
        2, ge=0, title="Epochs added per round", description="How many epochs each of these rounds adds."
    )
    largest_zoom: float | None = Field(
        None,
        gt=0,
        le=8,
        title="Keep the scale: largest zoom",
        description="1: images keep their size. 2: small ones are enlarged, at most twofold. Each lies in the smallest "
        "square that holds it, of several sizes up to Side (px); only larger images are reduced. Empty: every image "
        "fills a square of Side (px).",
    )
    side_px_per_round: int = Field(
        16,
        ge=0,
        multiple_of=16,
        title="Side added per round (px)",
        description="How many pixels each of these rounds adds to the side.",
    )
    batch_size: int = Field(
        16,
        ge=2,
        title="Images per training step",
        description="The network is adjusted after this number of images (batch size); fewer need less memory.",
    )
    learning_rate: float = Field(
        3e-4, gt=0, description="How much one step changes the network, at the start of the training (optimizer AdamW)."
    )
    weight_decay: float = Field(
        1e-2,
        ge=0,
        description="How strongly each step pulls the network's weights back towards zero (AdamW), against learning "
        "single images by heart.",
    )
    plateau_patience: int = Field(
        3,
        ge=0,
        title="Learning rate: epochs until a drop",
        description="Schedule plateau: the rate drops after this number of epochs without a better Dice on the "
        "validation images.",
    )
    plateau_factor: float = Field(
        0.3,
        gt=0,
        lt=1,
        title="Learning rate: factor of a drop",
        description="Schedule plateau: a drop multiplies the learning rate by this.",
    )
    schedule: Literal["plateau", "cosine"] = Field(
        "plateau",
        title="Learning rate: schedule",
        description="plateau: the rate drops where the Dice on the validation images no longer rises. cosine: it "
        "rises over the first twentieth of the training and then falls to zero; the last epoch is then the model, "
        "unless an earlier one is clearly better on the validation images.",
    )
    loss: Literal["tversky", "dice_bce"] = Field(
        "tversky",
        title="What counts as an error (loss)",
        description="tversky: as published, with the two weights below. dice_bce: half Dice, half cross-entropy, "
        "which counts every pixel.",
    )
    alpha_fp: float = Field(
        0.7,
        ge=0,
        le=1,
        title="Weight of false positives",
        description="Loss tversky: how much a pixel counts that is painted and should not be (alpha).",
    )
    beta_fn: float = Field(
        0.3,
        ge=0,
        le=1,
        title="Weight of false negatives",
        description="Loss tversky: how much a pixel counts that should be painted and is not (beta).",
    )
    augmentation: Augmentation = Field(
        "affine",
        title="Variation of the images (augmentation)",
        description="How images are varied at random whenever the network sees them; each kind does what those "
        "before it do, and more. basic: mirrored and turned. occlusion: with small patches hidden. affine: also "
        "scaled and sheared. domain: also bent, blurred, noisy, paler or darker. specialized: also in the style of "
        "images of the pool, so it needs a pool.",
    )
    neighbour_share: float = Field(
        0.0,
        ge=0,
        le=1,
        title="Share of images with pasted neighbours",
        description="This share of the images of a training gets objects of other training images beside their own, as "
        "background: for pools whose images hold several objects. From 0 to 1.",
    )
    correction_weight: float = Field(
        10.0,
        gt=0,
        title="Weight of a corrected image",
        description="A corrected image is shown this many times as often as an image of the source.",
    )
    correction_share: float | None = Field(
        None,
        gt=0,
        lt=1,
        title="Share of corrected images",
        description="Corrected images are this share of an epoch, however many there are; from 0 to 1. Empty: the "
        "weight above decides.",
    )
    pool_mask_weight: float | None = Field(
        None,
        gt=0,
        title="Weight of the pool's automatic masks",
        description="Train on the pool's automatic masks too, each shown as often as an image of the source, times "
        "this number; a person's answer replaces the automatic mask. Ingest the pool with automatic masks before. "
        "Empty: they are not trained on.",
    )
    pool_mask_min_share: float = Field(
        0.8,
        ge=0,
        le=1,
        title="Pool: least share of automatic masks",
        description="If a smaller share of the pool's images got an automatic mask, the method does not suit them, "
        "and none of its masks is trained on. From 0 to 1.",
    )
    draws_per_epoch: int | None = Field(
        None,
        ge=2,
        title="Images per epoch",
        description="How many images an epoch shows, some of them several times. Empty: as many as there are.",
    )
    holdout_fraction: float = Field(
        0.1,
        gt=0,
        lt=0.5,
        title="Share of the source kept for measuring",
        description="If there are no validation images, this share of the source is not trained on and measures the "
        "model instead. From 0 to 0.5.",
    )
    warm_start: bool = Field(
        True,
        title="Go on from the model in use",
        description="A round's training goes on from the model in use. Off: each round starts anew from the encoder "
        "weights.",
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto",
        title="Precision of numbers",
        description="fp32: full, 32 bits. bf16: 16 bits, faster on processors that have it. auto: bf16 where the "
        "processor has it.",
    )
    devices: int = Field(
        1,
        ge=1,
        le=64,
        title="GPUs that train together",
        description="GPUs of one machine, each computes a part of every step. Without a GPU: number of processes.",
    )
    loader_workers: int = Field(
        2,
        ge=0,
        le=64,
        title="Processes that read images",
        description="How many processes for each GPU read images and prepare random variants; 0: the training's own "
        "process does.",
    )
    seed: int = Field(
        0,
        ge=0,
        title="Random seed",
        description="A number from which all random choices of the training follow: the same number gives the same "
        "choices.",
    )

    def facts(self) -> dict[str, object]:
        """What weights depend on, for fingerprints; a later setting counts only where it is not its default."""
        later = (
            "devices",
            "pool_mask_weight",
            "largest_zoom",
            "schedule",
            "loss",
            "neighbour_share",
            "pool_mask_min_share",
        )
        fields = type(self).model_fields
        without = {"loader_workers"} | {name for name in later if getattr(self, name) == fields[name].default}
        return self.model_dump(exclude=without)

    @model_validator(mode="after")
    def _every_device_has_a_part(self) -> Self:
        if self.batch_size % self.devices or self.batch_size < 2 * self.devices:
            raise ValueError(
                f"A batch of {self.batch_size} images cannot be shared out evenly among {self.devices} devices, two at"
                f" least to each. Set batch_size to a multiple of {self.devices} and at least {2 * self.devices}."
            )
        return self
