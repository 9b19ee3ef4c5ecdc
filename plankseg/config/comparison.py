"""What a comparison of trainings and a simulation of rounds compare."""

from typing import Annotated

from pydantic import Field, field_validator

from plankseg.config.choices import Architecture, ArmName, Augmentation
from plankseg.config.frozen_model import FrozenModel


class Grid(FrozenModel):
    """What is compared: every combination of these values. If a list is empty, the value under Advanced is used."""

    name: str = Field(
        "grid",
        pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$",
        max_length=40,
        title="Name of the comparison",
        description="What it is called in records and reports: small letters, digits, dashes.",
    )
    architectures: tuple[Architecture, ...] = Field(
        ("Unet", "DeepLabV3Plus"), max_length=8, description="Kinds of network."
    )
    encoders: tuple[str, ...] = Field(
        (),
        max_length=8,
        description="Parts that recognise shapes: names that the library segmentation-models-pytorch has.",
    )
    freeze_encoder: tuple[bool, ...] = Field(
        (True, False),
        title="Keep the encoder as it is",
        description="Values to try. On: train only the rest of the network. Off: train all of it.",
    )
    learning_rates: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        (1e-4, 3e-4, 1e-3),
        max_length=12,
        description="How much one step changes the network, at the start of the training (optimizer AdamW).",
    )
    augmentations: tuple[Augmentation, ...] = Field(
        (),
        max_length=8,
        title="Variations of the images (augmentations)",
        description="How images are varied at random whenever the network sees them; `plankseg show-augmentations` "
        "draws each kind.",
    )
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        (),
        max_length=20,
        title="Random seeds",
        description="The same training once for each number, to see how much of a difference is chance.",
    )

    @field_validator("name")
    @classmethod
    def _not_the_last_trainings(cls, name: str) -> str:
        if name == "final":
            raise ValueError("'final' is the name of the last training's records: give the grid another one")
        return name

    @field_validator("architectures", "encoders", "freeze_encoder", "learning_rates", "augmentations", "seeds")
    @classmethod
    def _each_once(cls, values: tuple[object, ...]) -> tuple[object, ...]:
        if len(set(values)) < len(values):
            raise ValueError(f"{list(values)} names a value twice: give each once")
        return values


class SimulationConfig(FrozenModel):
    """What is compared by a simulated person, and for how long."""

    arms: tuple[ArmName, ...] = Field(
        ("random", "stratified", "published", "power", "stratified-power"),
        min_length=1,
        title="Ways that are compared (arms)",
        description="random: by chance. stratified: by chance, the same number of each taxon. published "
        "(stochastic_batches under Advanced): of 50 random sets of images the one that the model is most uncertain "
        "about. power: the more uncertain an image, the more probably it is chosen. stratified-power: the same, but "
        "two thirds of a round's images are spread over the taxa. Further ways in the list change something of these "
        "five, or of the training; docs/simulation.md, in the folder of plankseg, has a line for each. All are "
        "compared with stratified, or with random if stratified is not among them.",
    )
    seeds: int = Field(
        3,
        ge=1,
        le=20,
        title="Repetitions (seeds)",
        description="How often each way is repeated, with another random seed each time. Below three nothing can be "
        "concluded.",
    )
    rounds: int = Field(5, ge=1, le=50, description="Number of rounds of each way.")
    batch_size: int = Field(
        20, ge=1, le=1000, title="Images per round", description="How many images the simulated person gets in a round."
    )
    test_images: int = Field(
        160,
        ge=4,
        title="Validation images used",
        description="How many of the validation images are used, always the same ones. Half of them decide which epoch "
        "of a training is kept; the Dice on the other half is what is compared.",
    )
    clicks: bool = Field(
        True, title="Count clicks", description="Also count the clicks that a simulated person would need."
    )

    @field_validator("arms")
    @classmethod
    def _each_once(cls, arms: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(arms)) < len(arms):
            raise ValueError(f"{list(arms)} names an arm twice: give each once")
        return arms


class SimulationData(FrozenModel):
    """Folders, tars or zips of images that have true masks; masks as `plankseg ingest --masks` takes them."""

    source: str = Field(
        title="Source images", description="Folder, tar or zip of clean images that model 0 is trained on."
    )
    source_masks: str | None = Field(None, description="Their masks. Empty: made automatically.")
    pool: str = Field(title="Pool images", description="Images to choose from.")
    pool_masks: str = Field(description="Their true masks, used as the answers of a person.")
    test: str = Field(
        title="Validation images",
        description="Images to measure with: half of them decide which epoch of a training is kept; the Dice on the "
        "other half is what is compared.",
    )
    test_masks: str = Field(title="Validation masks", description="Their true masks.")
