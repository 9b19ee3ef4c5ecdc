"""All settings: `Recipe`, the scientific ones (shown as the run form), and `Settings`, those of the environment."""

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from plankseg.errors import LabelStudioAuthError, SettingsError

Architecture = Literal["Unet", "DeepLabV3Plus"]
AssistMethod = Literal["network", "contrast", "disc"]
Augmentation = Literal["basic", "occlusion", "affine", "domain", "specialized"]
BackendName = Literal[
    "torch", "torch-bf16", "folded", "folded-bf16", "compiled", "compiled-bf16", "openvino", "openvino-bf16"
]
RecipeName = Literal["laptop", "quality", "published"]
ScoringName = Literal[BackendName, "openvino-int8"]  # good enough to rank images by, not for masks
ComputingName = Literal[ScoringName, "onnxruntime"]  # exported graphs


def field_title(name: str, _: object = None) -> str:
    """A field's name as the run form shows it: 'side_px_per_round' becomes 'Side per round (px)'."""
    words = name.split("_")
    unit = " (px)" if "px" in words else ""
    return " ".join(word for word in words if word != "px").capitalize() + unit


class FrozenModel(BaseModel):
    """A pydantic model that cannot be changed and refuses names it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", field_title_generator=field_title)


class NetworkConfig(FrozenModel):
    """Which network, and where its weights start."""

    architecture: Architecture = Field("Unet", description="Shape of the network.")
    encoder: str = Field("resnet34", description="Any encoder that segmentation-models-pytorch knows.")
    encoder_weights: str = Field(
        "imagenet",
        description="'imagenet', 'none' for a random start, or the path of a .safetensors file of encoder weights.",
    )
    freeze_encoder: bool = Field(False, description="Train the decoder only.")


class TrainingConfig(FrozenModel):
    """How long, how large, how hard. The defaults are the published ones."""

    side_px: int = Field(256, ge=32, le=2048, multiple_of=16, description="Side of the square input in round 1 and 2.")
    epochs: int = Field(20, ge=1, description="Epochs in round 1 and 2.")
    grow_from_round: int = Field(3, ge=1, description="First round in which epochs and side grow.")
    epochs_per_round: int = Field(2, ge=0, description="Epochs added in every growing round.")
    largest_zoom: float | None = Field(
        None,
        gt=0,
        le=8,
        description="Images keep their scale, enlarged at most so many times, each in the smallest of some squares "
        "that holds it; side_px is then the largest square's. Empty: every image fills a square of side_px.",
    )
    side_px_per_round: int = Field(16, ge=0, multiple_of=16, description="Pixels added to the side in every one.")
    batch_size: int = Field(16, ge=2, description="Images per training step.")
    learning_rate: float = Field(3e-4, gt=0, description="AdamW's learning rate at the start.")
    weight_decay: float = Field(1e-2, ge=0, description="AdamW's weight decay.")
    plateau_patience: int = Field(3, ge=0, description="Epochs without a better validation Dice before the rate drops.")
    plateau_factor: float = Field(
        0.3,
        gt=0,
        lt=1,
        title="Learning rate: factor of a drop",
        description="By what the learning rate is multiplied when the validation Dice no longer rises.",
    )
    schedule: Literal["plateau", "cosine"] = Field(
        "plateau",
        description="plateau: the rate drops where the validation Dice no longer rises, as below. cosine: it rises "
        "over the first twentieth of the training and then falls to nothing; the last epoch is then the model, "
        "unless an earlier one is clearly better on the validation images.",
    )
    loss: Literal["tversky", "dice_bce"] = Field(
        "tversky",
        description="tversky: as published, with the two weights below. dice_bce: half Dice, half cross-entropy.",
    )
    alpha_fp: float = Field(
        0.7,
        ge=0,
        le=1,
        title="Weight of false positives",
        description="tversky: how much a pixel counts that is painted and should not be (alpha).",
    )
    beta_fn: float = Field(
        0.3,
        ge=0,
        le=1,
        title="Weight of false negatives",
        description="tversky: how much a pixel counts that should be painted and is not (beta).",
    )
    augmentation: Augmentation = Field(
        "affine",
        description="Composition of augmentations, each with the one before; specialized needs images in the pool.",
    )
    neighbour_share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of the drawn images that get objects of other training images beside their own, as ground: "
        "for targets whose images hold several objects.",
    )
    correction_weight: float = Field(
        10.0, gt=0, description="Sampler weight of a corrected image; a source image has 1."
    )
    correction_share: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Share of an epoch's draws that are corrections, however many there are; empty: "
        "each correction has the sampler weight above.",
    )
    pool_mask_weight: float | None = Field(
        None,
        gt=0,
        description="Train on the pool's automatic masks too, with this sampler weight; an answer replaces an image's "
        "automatic mask. Empty: they are not trained on. They are made when the pool is ingested with automatic masks.",
    )
    pool_mask_min_share: float = Field(
        0.8,
        ge=0,
        le=1,
        description="Where a smaller share of the pool's images got an automatic mask, the method does not suit them, "
        "and none of its masks is trained on.",
    )
    draws_per_epoch: int | None = Field(
        None,
        ge=2,
        title="Images per epoch",
        description="How many images one epoch draws, some of them several times; empty: as many as there are.",
    )
    holdout_fraction: float = Field(
        0.1, gt=0, lt=0.5, description="Share of the source kept for validation where no validation set exists."
    )
    warm_start: bool = Field(
        True,
        description="Start a retraining from the active model; off: each round anew from the encoder weights.",
    )
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="auto: bf16 where the processor has it.")
    devices: int = Field(
        1,
        ge=1,
        le=64,
        description="GPUs of one machine that train together, each on its part of a step; without a GPU: processes.",
    )
    loader_workers: int = Field(2, ge=0, le=64, description="Processes that read and augment images, on each device.")
    seed: int = Field(0, ge=0, description="Seed of weights, sampler and augmentation.")

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


Measure = Literal["variance", "entropy", "jsd", "dice", "conventional"]
"""By what an image is found uncertain."""

SelectorName = Literal[
    "stochastic_batches", "random", "top_k", "stratified", "power", "stratified_power", "typical_first", "core_set"
]
"""How a batch is chosen."""


class QueryConfig(FrozenModel):
    """How the images that teach most are found. The defaults are the published ones."""

    selector: SelectorName = Field(
        "stochastic_batches",
        description="How a batch is chosen. stochastic_batches: the best of some random batches, as published. random. "
        "top_k: the most uncertain images of the whole pool. stratified: at random, the same number of each taxon. "
        "power: at random, more probably the more uncertain. stratified_power: two thirds of them spread over the taxa."
        " typical_first: in round 1 the most typical images, then as stratified_power. core_set: images unlike each "
        "other and unlike what was answered.",
    )
    mode: Literal["draws", "partition"] = Field(
        "draws",
        title="Candidate batches are",
        description="draws: drawn at random, each without regard to the others. partition: the parts of one shuffled "
        "pool, so that no image is in two.",
    )
    batch_size: int = Field(20, ge=1, le=1000, description="Images a person gets per round.")
    batches: int = Field(
        50,
        ge=1,
        description="Candidate batches that are compared; the later selectors choose from as many images, drawn at "
        "random, as these batches hold.",
    )
    power_start: float = Field(
        1.0, ge=0, description="power: the exponent of the uncertainty in round 1; 0 is a random choice."
    )
    power_end: float = Field(100.0, ge=0, description="The exponent in the last of the rounds below; large is top_k.")
    power_rounds: int = Field(10, ge=1, description="In so many rounds the exponent goes from the first to the second.")
    spread_share: float = Field(
        2 / 3, ge=0, le=1, description="stratified_power: the share of the batch that is spread over taxa or clusters."
    )
    strata: Literal["taxon", "clusters"] = Field(
        "taxon",
        description="What the stratified selectors spread the batch over: the taxa of the catalogue, or clusters of "
        "what the encoder sees. Where fewer than half of the images have a taxon, clusters are taken.",
    )
    clusters: int = Field(20, ge=2, le=200, description="How many clusters that are, at most.")
    views: Literal["recipe", "dihedral"] = Field(
        "recipe",
        title="Views of an image",
        description="A model is uncertain where it answers differently to several views of an image. recipe: the five "
        "published views. dihedral: its eight turns and reflections.",
    )
    noise_sd: float = Field(0.02, ge=0, le=0.5, description="Noise of the noisy view, as a share of the grey range.")
    measure: Measure = Field(
        "variance",
        description="Disagreement of the views: variance, entropy of their mean, jsd, or dice: how little their masks "
        "overlap the mask of their mean. conventional: how far their mean is from the automatic mask at the local "
        "contrast.",
    )
    region: Literal["image", "band"] = Field(
        "image", description="Mean over the image's own pixels, or over a band around the predicted object."
    )
    band_px: int = Field(
        5,
        ge=1,
        le=64,
        title="Width of the band (px)",
        description="band: how far it reaches to either side of the predicted outline.",
    )
    blind: int = Field(
        0, ge=0, description="How many of the chosen images are shown without a pre-mask, to see how much it anchors."
    )
    random_controls: int = Field(
        0, ge=0, description="How many of the images are drawn at random, for an unbiased estimate of effort and Dice."
    )
    forward_batch: int = Field(
        32,
        ge=1,
        title="Views computed at once",
        description="More are faster until memory is full; above 256 px of side as many fewer as they are larger.",
    )
    seed: int = Field(0, ge=0, description="Seed of the draws; the round is mixed in.")

    @model_validator(mode="after")
    def _controls_leave_room(self) -> Self:
        if self.random_controls >= self.batch_size or self.blind > self.batch_size - self.random_controls:
            raise ValueError(
                f"of {self.batch_size} images, {self.random_controls} at random and {self.blind} of the others without "
                "a pre-mask are too many: choose fewer"
            )
        return self


class InferenceConfig(FrozenModel):
    """With what a pool is scored: the fastest way here that sees the same masks and ranks images alike."""

    backend: Literal["auto", BackendName] = Field(
        "auto", description="auto: try what this machine has on some images of the pool. Or one by name."
    )
    int8: bool = Field(
        True, description="Also try to rank images in whole numbers of 8 bits: faster. Masks never come from those."
    )
    calibration_images: int = Field(
        16, ge=4, le=500, description="Images of the pool that the ways are tried on; a smaller pool is scored in fp32."
    )
    min_dice: float = Field(
        0.98, ge=0, le=1, description="Mean Dice that a way's masks must have to those of plain fp32."
    )
    min_rank_correlation: float = Field(
        0.98,
        ge=-1,
        le=1,
        title="Order of the images: least agreement",
        description="A faster way must put the images into nearly the same order of uncertainty as plain fp32 (rank "
        "correlation; 1: exactly the same).",
    )
    seed: int = Field(0, ge=0, description="Seed of the draw of the images that are tried on.")


class MasksConfig(FrozenModel):
    """What becomes of the network's answer before anybody sees it."""

    postprocessing: Literal["none", "choose"] = Field(
        "none",
        description="choose: fill holes and drop small parts where that makes the masks of the images that choose "
        "better; decided once for each model, recorded with it, and done alike wherever its masks are made.",
    )


class AssistConfig(FrozenModel):
    """What answers a click in Label Studio. No model depends on it."""

    method: AssistMethod = Field(
        "network",
        description="How the part that a click means is found. network: a small network for clicks, which comes with "
        "the installation. contrast: what has the grey of the click and is joined to it. disc: the largest disc around "
        "the click that does not reach the mask's outline.",
    )
    fill_holes_px: int = Field(
        30, ge=0, le=100_000, description="Holes of at most so many pixels are filled in answers; 0: none."
    )


class RoundsConfig(FrozenModel):
    """When to stop, what counts as effort, and what becomes of skipped images."""

    budget: int = Field(10, ge=1, description="Rounds that are asked for.")
    redrawn_below: float = Field(
        0.95, gt=0, le=1, description="An answer counts as redrawn below this Dice between pre-mask and answer."
    )
    replace_skipped: bool = Field(False, description="Ask for the next best image where one was skipped.")
    stop_when_flat: bool = Field(
        True,
        description="Wait for a person's word where the last rounds brought neither less effort nor a better Dice.",
    )
    flat_rounds: int = Field(3, ge=2, le=20, description="How many rounds in a row that must be.")
    flat_effort: float = Field(
        0.05,
        ge=0,
        lt=1,
        description="A smaller fall than this of the redrawn share counts as no fall; 0.05: one of 20.",
    )
    flat_dice: float = Field(
        0.005,
        ge=0,
        lt=1,
        title="Least rise of Dice",
        description="A round whose validation Dice rises by less than this counts as no better.",
    )


class ValidationConfig(FrozenModel):
    """Where the validation set comes from, and what keeps it apart from everything that is chosen or learnt from."""

    ask_for: int = Field(
        0,
        ge=0,
        le=100,
        description="Where there is no validation set, the loop begins by asking a person to mask so many images of "
        "the pool, at most a tenth of it, drawn at random, in a Label Studio project of their own; 0: it does not ask.",
    )

    near_duplicate_bits: int = Field(
        6,
        ge=0,
        le=20,
        title="Near duplicates: bits that differ",
        description="Images whose perceptual hash differs in at most so many of 64 bits from one of the validation set "
        "are never proposed nor trained on.",
    )


class ValidationDraw(FrozenModel):
    """Which images of the pool a person masks to measure with."""

    per_class: int = Field(2, ge=1, le=100, description="Images of each class in the validation set.")
    seed: int = Field(0, ge=0, description="Seed of the draw within each class.")
    replace_refused: bool = Field(
        True, description="Draw the next image of a class for one that was skipped or called unusable."
    )
    premasks: bool = Field(
        False,
        description="Show the active model's masks to correct. Off: the person draws on the bare image, slower, but "
        "the masks that models are measured with do not lean towards one of them.",
    )


class Recipe(FrozenModel):
    """Everything scientific about a run, with the published defaults."""

    network: NetworkConfig = NetworkConfig()
    training: TrainingConfig = TrainingConfig()
    query: QueryConfig = QueryConfig()
    rounds: RoundsConfig = RoundsConfig()
    validation: ValidationConfig = ValidationConfig()
    inference: InferenceConfig = InferenceConfig()
    masks: MasksConfig = MasksConfig()
    assist: AssistConfig = AssistConfig()


class Grid(FrozenModel):
    """What is compared: every combination of these values, each on top of a recipe. An empty list: the recipe's own."""

    name: str = Field(
        "grid",
        pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$",
        max_length=40,
        description="Name of the experiment in records and reports: small letters, digits, dashes.",
    )
    architectures: tuple[Architecture, ...] = Field(
        ("Unet", "DeepLabV3Plus"), max_length=8, description="Shapes of the network."
    )
    encoders: tuple[str, ...] = Field((), max_length=8, description="Encoders that segmentation-models-pytorch knows.")
    freeze_encoder: tuple[bool, ...] = Field((True, False), description="Train the decoder only: yes, no, or both.")
    learning_rates: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        (1e-4, 3e-4, 1e-3), max_length=12, description="AdamW's learning rates at the start."
    )
    augmentations: tuple[Augmentation, ...] = Field((), max_length=8, description="Compositions of augmentations.")
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        (), max_length=20, description="Seeds: the same run several times, to see how much is chance."
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


ArmName = Literal[
    "random",
    "stratified",
    "published",
    "partition",
    "top-k",
    "power",
    "stratified-power",
    "typical-first",
    "core-set",
    "entropy",
    "jsd",
    "dice",
    "band",
    "outline-entropy",
    "outline-batches",
    "dihedral",
    "conventional",
    "weight-1",
    "share-half",
    "growing",
    "wrong-inverse",
    "oracle",
]
"""The arms of a simulation: what differs from the recipe that all share, see `pipeline.simulation.arms`."""


class SimulationConfig(FrozenModel):
    """What is compared by a simulated person, and for how long."""

    arms: tuple[ArmName, ...] = Field(
        ("random", "stratified", "published", "power", "stratified-power"),
        min_length=1,
        description="Ways of choosing images, and of training on them, that are compared.",
    )
    seeds: int = Field(3, ge=1, le=20, description="How often each is repeated: with other weights and other draws.")
    rounds: int = Field(5, ge=1, le=50, description="Rounds of each.")
    batch_size: int = Field(20, ge=1, le=1000, description="Images per round.")
    test_images: int = Field(
        160, ge=4, description="So many of the test images are used, drawn by a hash; half of them choose epochs."
    )
    clicks: bool = Field(True, description="Also count the clicks that a simulated person would need.")

    @field_validator("arms")
    @classmethod
    def _each_once(cls, arms: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(arms)) < len(arms):
            raise ValueError(f"{list(arms)} names an arm twice: give each once")
        return arms


class SimulationData(FrozenModel):
    """Folders, tars or zips of images whose masks are known; masks as `plankseg ingest --masks` takes them."""

    source: str = Field(description="Clean images that model 0 is trained on.")
    source_masks: str | None = Field(None, description="Their masks; empty: made automatically.")
    pool: str = Field(description="Images to choose from.")
    pool_masks: str = Field(description="Their true masks, which answer in the person's place.")
    test: str = Field(description="Images to measure with: one half chooses epochs, the other only reports.")
    test_masks: str = Field(description="Their true masks.")


class FinalConfig(FrozenModel):
    """The last training, after the rounds; everything else is as in the active model's recipe."""

    side_px: int = Field(512, ge=32, le=2048, multiple_of=16, description="Side of the square input.")
    batch_size: int = Field(8, ge=2, description="Images per training step.")
    epochs: int = Field(40, ge=1, description="Epochs: longer than a round's.")
    labels_only: bool = Field(False, description="Train on what people answered alone, without the source.")
    warm_start: bool = Field(True, description="Start from the active model, not from the encoder weights.")


class Part(FrozenModel):
    """A part of the catalogue; what is left empty does not narrow it."""

    role: Literal["all", "source", "pool", "validation"] = Field("all", description="Images of one role, or of all.")
    dataset: str | None = Field(None, description="Images of one data set.")
    taxon: str | None = Field(None, description="Images of one taxon, as it is written in the catalogue.")


class SegmentConfig(FrozenModel):
    """How a model looks at an archive."""

    views: Literal["none", "recipe", "dihedral"] = Field(
        "recipe",
        title="Views of an image",
        description="The mean of a model's answers to several views is better than one answer. recipe: the five "
        "published views. dihedral: eight turns and reflections. none: the image alone, faster.",
    )
    largest_part: bool = Field(False, description="Keep only the largest connected part of each mask.")
    backend: Literal["auto", BackendName] = Field(
        "auto", description="auto: what the model's recipe says, else the fastest here that agrees with plain fp32."
    )
    shard_size: int | None = Field(
        None,
        ge=1,
        le=100_000,
        title="Images per shard",
        description="The archive is done in shards, of which a killed run loses at most one; empty: what takes a "
        "minute here, found on a first small one.",
    )
    forward_batch: int = Field(
        32, ge=1, le=4096, title="Views computed at once", description="More are faster until memory is full."
    )


class AuditConfig(FrozenModel):
    """How many masks of a harvest a person judges, and which count as usable."""

    masks: int = Field(
        60,
        ge=5,
        le=2_000,
        description="Masks to draw. 60 usable ones of 60 prove that 94 % are (95 % interval); 300 of 300, 99 %.",
    )
    usable_dice: float = Field(
        0.9, gt=0, le=1, description="A mask is usable if its Dice to the person's is at least this."
    )
    seed: int = Field(0, ge=0, description="Seed of the draw. Another one makes another audit of the same masks.")


class ExportConfig(FrozenModel):
    """What is made of the masks: a table of measures, and zips that EcoTaxa imports."""

    pixel_size_mm: float | None = Field(
        None,
        gt=0,
        le=1,
        title="Pixel size (mm)",
        description="Side of a pixel in mm, for measures in mm too (ZooScan at 2400 dpi: 0.0106).",
    )
    ecotaxa: bool = Field(
        True, title="EcoTaxa", description="Write zips for EcoTaxa: images without background, and their measures."
    )
    image_format: Literal["png", "jpeg"] = Field("png", description="Format of the images in the zips.")
    folder: str | None = Field(
        None, description="Folder for table and zips on the machine that runs this; empty: 'exports' in the store's."
    )


class Settings(BaseSettings):
    """Environment settings, from `PLANKSEG_*` variables or a `.env` file; Prefect and AWS have their own variables."""

    model_config = SettingsConfigDict(env_prefix="PLANKSEG_", env_file=".env", extra="ignore", frozen=True)

    store: str = Field(
        "./plankseg-store", min_length=1, description="Folder of the label store, or s3://bucket/prefix."
    )
    label_studio_url: str = Field("http://127.0.0.1:8080", description="Address of Label Studio.")
    label_studio_token: SecretStr | None = Field(None, description="A person's access token, of either kind.")
    project: str = Field("plankseg", min_length=3, max_length=50, description="Title of the Label Studio project.")
    webhook_secret: SecretStr | None = Field(None, min_length=16, description="What Label Studio and the relay share.")
    relay_url: str = Field("http://127.0.0.1:8090", description="Where Label Studio finds the webhook relay.")
    assistant_url: str = Field("http://127.0.0.1:8091", description="Where Label Studio finds the assistant.")
    presign_images: bool = Field(
        False,
        description="Images in a bucket: browsers fetch them there by signed addresses (the bucket needs CORS), "
        "instead of through Label Studio.",
    )
    ecotaxa_url: str = Field("https://ecotaxa.obs-vlfr.fr", description="Address of EcoTaxa, as people open it.")
    ecotaxa_token: SecretStr | None = Field(None, description="A token of EcoTaxa, that POST /api/login gives.")
    device: str = Field("auto", description="auto | cpu | cuda | cuda:1 | mps")
    runner: Literal["threads", "dask"] = Field(
        "threads",
        description="Where passes over very many images run: in the flow's own process, or on the workers of Dask.",
    )
    dask_address: str = Field(
        "", description="Dask's scheduler, such as tcp://host:8786; empty: worker processes of this machine."
    )
    max_image_pixels: int = Field(64_000_000, gt=0, description="Largest image that is decoded.")

    @field_validator("store")
    @classmethod
    def _store_is_named(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("an empty name would make a store of the working directory: give a folder, or unset it")
        return value

    def required_token(self) -> str:
        """Label Studio's token. Raises LabelStudioAuthError where none is set."""
        if self.label_studio_token is None:
            raise LabelStudioAuthError(
                "PLANKSEG_LABEL_STUDIO_TOKEN is not set; copy the token from Label Studio's 'Account & Settings' page."
            )
        return self.label_studio_token.get_secret_value()

    def required_secret(self) -> str:
        """The secret that relay and assistant share with Label Studio. Raises SettingsError where none is set."""
        if self.webhook_secret is None:
            raise SettingsError(
                "PLANKSEG_WEBHOOK_SECRET is not set; draw one, for example with `openssl rand -hex 20`."
            )
        return self.webhook_secret.get_secret_value()

    @property
    def store_location(self) -> str:
        """The store's address, or its folder, absolute, so that a change of directory does not move it."""
        return self.store if "://" in self.store else str(Path(self.store).expanduser().resolve())


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings of this process, read once. Raises SettingsError naming the variable that cannot be used."""
    try:
        return Settings()
    except (UnicodeDecodeError, OSError) as error:
        raise SettingsError(
            f"The file .env of the working directory cannot be read ({error}). Save it as UTF-8, readable by you."
        ) from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = "_".join(("PLANKSEG", *map(str, first["loc"]))).upper()
        raise SettingsError(
            f"{name}={first['input']!r} cannot be used: {first['msg']}; correct it or unset it."
        ) from error
