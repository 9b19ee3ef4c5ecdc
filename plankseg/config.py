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
    """How long a training is, how large its images are, and what it learns from. The published numbers are set."""

    side_px: int = Field(
        256,
        ge=32,
        le=2048,
        multiple_of=16,
        description="Images are brought to squares of this side; later rounds use larger ones, see below.",
    )
    epochs: int = Field(
        20,
        ge=1,
        description="An epoch is one pass over the training images; a training has so many. Later rounds have more, "
        "see below.",
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
        description="Images keep their scale, enlarged at most so many times: each lies in the smallest of some "
        "squares that holds it, and the largest square has the side above. Empty: every image fills a square of that "
        "side.",
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
        title="Images per step",
        description="After so many images the network is adjusted; fewer need less memory.",
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
        description="Schedule plateau: the rate drops after so many epochs without a better Dice on the validation "
        "images.",
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
        description="How images are varied at random whenever they are shown; each kind does what those before it do, "
        "and more. basic: mirrored and turned. occlusion: with small patches hidden. affine: also scaled and sheared. "
        "domain: also bent, blurred, noisy, paler or darker. specialized: also in the style of images of the pool, so "
        "it needs a pool.",
    )
    neighbour_share: float = Field(
        0.0,
        ge=0,
        le=1,
        title="Share of images with pasted neighbours",
        description="So many of the shown images get objects of other training images beside their own, as "
        "background: for pools whose images hold several objects. From 0 to 1.",
    )
    correction_weight: float = Field(
        10.0,
        gt=0,
        title="Weight of a corrected image",
        description="How many times as often a corrected image is shown as an image of the source.",
    )
    correction_share: float | None = Field(
        None,
        gt=0,
        lt=1,
        title="Share of corrected images",
        description="So much of an epoch are corrected images, however many there are; from 0 to 1. Empty: the weight "
        "above decides.",
    )
    pool_mask_weight: float | None = Field(
        None,
        gt=0,
        title="Weight of the pool's automatic masks",
        description="Train on the pool's automatic masks too, each shown so many times as often as an image of the "
        "source; a person's answer replaces the automatic mask. Ingest the pool with automatic masks before. Empty: "
        "they are not trained on.",
    )
    pool_mask_min_share: float = Field(
        0.8,
        ge=0,
        le=1,
        title="Pool: least share of automatic masks",
        description="Where a smaller share of the pool's images got an automatic mask, the method does not suit them, "
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
        description="Where there is no validation set, so much of the source is not trained on and measures the model "
        "instead. From 0 to 0.5.",
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
        description="GPUs of one machine, each computes a part of every step. Without a GPU: so many processes.",
    )
    loader_workers: int = Field(
        2,
        ge=0,
        le=64,
        title="Processes that read images",
        description="So many processes for each GPU read and vary the images; 0: the training itself does it.",
    )
    seed: int = Field(
        0,
        ge=0,
        title="Seed of chance",
        description="Start of all random choices of the training: the same number gives the same choices.",
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


Measure = Literal["variance", "entropy", "jsd", "dice", "conventional"]
"""By what an image is found uncertain."""

SelectorName = Literal[
    "stochastic_batches", "random", "top_k", "stratified", "power", "stratified_power", "typical_first", "core_set"
]
"""How a batch is chosen."""


class QueryConfig(FrozenModel):
    """How the images that teach most are found. The published numbers are set."""

    selector: SelectorName = Field(
        "stochastic_batches",
        title="Way of choosing",
        description="stochastic_batches: of some random batches the most uncertain one, as published. random: at "
        "random. top_k: the most uncertain images of the whole pool. stratified: at random, the same number of each "
        "taxon. power: at random, the more uncertain the more probable. stratified_power: as power, two thirds of "
        "them spread over the taxa. typical_first: in round 1 the most typical images, then as stratified_power. "
        "core_set: images unlike each other and unlike what was answered.",
    )
    mode: Literal["draws", "partition"] = Field(
        "draws",
        title="How candidate batches are made",
        description="draws: each is drawn at random from the whole pool. partition: the pool is shuffled and cut into "
        "parts, so that no image is in two.",
    )
    batch_size: int = Field(
        20, ge=1, le=1000, title="Images per round", description="So many images a person gets per round."
    )
    batches: int = Field(
        50,
        ge=1,
        title="Candidate batches",
        description="So many batches are compared. The ways from power on choose from as many images, drawn at "
        "random, as these batches hold.",
    )
    power_start: float = Field(
        1.0,
        ge=0,
        title="Power: exponent in round 1",
        description="Ways with power: how much more probable uncertain images are. 0: all alike, a random choice.",
    )
    power_end: float = Field(
        100.0,
        ge=0,
        title="Power: last exponent",
        description="It grows from round to round up to this; 100: nearly only the most uncertain images.",
    )
    power_rounds: int = Field(
        10,
        ge=1,
        title="Power: rounds until the last exponent",
        description="In so many rounds the exponent goes from the first to the last.",
    )
    spread_share: float = Field(
        2 / 3,
        ge=0,
        le=1,
        title="Share spread over the taxa",
        description="stratified_power: so much of a round is spread over the taxa, or over groups. From 0 to 1.",
    )
    strata: Literal["taxon", "clusters"] = Field(
        "taxon",
        title="Spread over",
        description="taxon: the taxa of the catalogue. clusters: groups of images that look alike to the network; "
        "also taken where fewer than half of the images have a taxon.",
    )
    clusters: int = Field(
        20,
        ge=2,
        le=200,
        title="Groups at most",
        description="clusters: how many groups of images that look alike are made, at most.",
    )
    views: Literal["recipe", "dihedral"] = Field(
        "recipe",
        title="Views of an image",
        description="A model is uncertain where it answers differently to several views of an image. recipe: the five "
        "published views (plain, two mirrored, one turned, one with noise). dihedral: its eight turns and "
        "reflections.",
    )
    noise_sd: float = Field(
        0.02,
        ge=0,
        le=0.5,
        title="Strength of the noise",
        description="Standard deviation of the noise in the view with noise, as a share of the range from black to "
        "white.",
    )
    measure: Measure = Field(
        "variance",
        title="Measure of uncertainty",
        description="How far the views disagree. variance: how their probabilities spread. entropy: how undecided "
        "their mean is. jsd: how far each lies from their mean (Jensen-Shannon divergence). dice: how little their "
        "masks overlap the mask of their mean. conventional: how far their mean is from the automatic mask at the "
        "local contrast.",
    )
    region: Literal["image", "band"] = Field(
        "image",
        title="Where uncertainty counts",
        description="image: everywhere in the image. band: in a band around the outline that the model predicts.",
    )
    band_px: int = Field(
        5,
        ge=1,
        le=64,
        title="Width of the band (px)",
        description="band: how far it reaches to either side of the predicted outline.",
    )
    blind: int = Field(
        0,
        ge=0,
        title="Images without a pre-mask",
        description="So many images of a round are shown without a pre-mask, to see how much a visible one leads the "
        "person.",
    )
    random_controls: int = Field(
        0,
        ge=0,
        title="Images drawn at random",
        description="So many images of a round are drawn at random: their effort and Dice are those of the whole "
        "pool, not only of difficult images.",
    )
    forward_batch: int = Field(
        32,
        ge=1,
        title="Views computed at once",
        description="More are faster until memory is full. Of squares with a side above 256 px fewer are computed at "
        "once.",
    )
    seed: int = Field(
        0,
        ge=0,
        title="Seed of chance",
        description="Start of all random choices: the same number gives the same choices. Each round chooses anew.",
    )

    @model_validator(mode="after")
    def _controls_leave_room(self) -> Self:
        if self.random_controls >= self.batch_size or self.blind > self.batch_size - self.random_controls:
            raise ValueError(
                f"of {self.batch_size} images, {self.random_controls} at random and {self.blind} of the others without "
                "a pre-mask are too many: choose fewer"
            )
        return self


class InferenceConfig(FrozenModel):
    """How the network is computed: the fastest way here that gives the same masks and the same order of images."""

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
        description="So many images of the pool; a smaller pool is computed the plain way (torch).",
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
        title="Seed of chance",
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
    """What a click in Label Studio does. No model depends on it."""

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
        description="Holes of at most so many pixels are filled in answers; 0: none.",
    )


class RoundsConfig(FrozenModel):
    """When to stop, what counts as effort, what is asked of two people, and what becomes of skipped images."""

    budget: int = Field(10, ge=1, title="Rounds in all", description="After so many rounds the loop ends.")
    redrawn_below: float = Field(
        0.95,
        gt=0,
        le=1,
        title="Redrawn: Dice below",
        description="An answer counts as redrawn where it agrees with the pre-mask to less than this Dice.",
    )
    asked_twice: float = Field(
        0.0,
        ge=0,
        le=1,
        title="Share asked of two people",
        description="So much of a round's images is asked of two people, who do not see each other's masks: their "
        "Dice says how far people agree. A round does not wait for the second. From 0 to 1.",
    )
    replace_skipped: bool = Field(
        False, title="Replace skipped images", description="Ask for the next best image where one was skipped."
    )
    stop_when_flat: bool = Field(
        True,
        title="Stop when nothing improves",
        description="Wait for a person's word where the last rounds brought neither less effort nor a better Dice.",
    )
    flat_rounds: int = Field(
        3, ge=2, le=20, title="Rounds without improvement", description="How many rounds in a row that must be."
    )
    flat_effort: float = Field(
        0.05,
        ge=0,
        lt=1,
        title="Least fall of effort",
        description="Where the share of redrawn masks falls by less than this, effort did not fall; 0.05 is one mask "
        "of 20.",
    )
    flat_dice: float = Field(
        0.005,
        ge=0,
        lt=1,
        title="Least rise of Dice",
        description="Where the Dice on the validation images rises by less than this, it did not rise.",
    )


class ValidationConfig(FrozenModel):
    """Images with a person's masks that measure models: where they come from, and what is kept apart from them."""

    ask_for: int = Field(
        0,
        ge=0,
        le=100,
        title="Images to ask a person for",
        description="Where there is no validation set, the loop begins by asking a person to mask so many images of "
        "the pool, at most a tenth of it, drawn at random, in a Label Studio project of their own; 0: it does not "
        "ask.",
    )

    near_duplicate_bits: int = Field(
        6,
        ge=0,
        le=20,
        title="Near duplicates: bits that differ",
        description="Images that look nearly like one of the validation set are never proposed nor trained on. Each "
        "image is summed up in 64 bits; two look nearly alike if at most so many of them differ.",
    )


class ValidationDraw(FrozenModel):
    """Which images of the pool a person masks to measure with."""

    per_class: int = Field(
        2,
        ge=1,
        le=100,
        title="Images of each class",
        description="So many images of each class are in the validation set.",
    )
    seed: int = Field(
        0,
        ge=0,
        title="Seed of chance",
        description="Start of the random choice within each class: the same number gives the same images.",
    )
    replace_refused: bool = Field(
        True,
        title="Replace refused images",
        description="Take the next image of a class for one that was skipped or called unusable.",
    )
    premasks: bool = Field(
        False,
        title="Show pre-masks",
        description="Show the masks of the model in use, to correct. Off: the person draws on the bare image, slower, "
        "but the masks that models are measured with do not lean towards one of them.",
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
    assist: AssistConfig = Field(AssistConfig(), title="Clicks in Label Studio")


class Grid(FrozenModel):
    """What is compared: every combination of these values, each on top of a recipe. An empty list: the recipe's own."""

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
        description="Train only the rest of the network: yes, no, or both.",
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
        description="How images are varied at random whenever they are shown; `plankseg show-augmentations` draws "
        "each kind.",
    )
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        (),
        max_length=20,
        title="Seeds of chance",
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
    "outline-stratified",
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
        title="Ways that are compared (arms)",
        description="Ways of choosing images, and of training on them. random is what all are compared with.",
    )
    seeds: int = Field(
        3,
        ge=1,
        le=20,
        title="Repetitions (seeds)",
        description="How often each way is repeated, with other chances each time. Below three nothing can be "
        "concluded.",
    )
    rounds: int = Field(5, ge=1, le=50, description="So many rounds of each way.")
    batch_size: int = Field(
        20, ge=1, le=1000, title="Images per round", description="So many images the simulated person gets per round."
    )
    test_images: int = Field(
        160,
        ge=4,
        title="Test images used",
        description="So many of the test images are used, always the same ones. Half of them decide which epoch of a "
        "training is kept, the other half only measures.",
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
    """Folders, tars or zips of images whose masks are known; masks as `plankseg ingest --masks` takes them."""

    source: str = Field(
        title="Source images", description="Folder, tar or zip of clean images that model 0 is trained on."
    )
    source_masks: str | None = Field(None, description="Their masks. Empty: made automatically.")
    pool: str = Field(title="Pool images", description="Images to choose from.")
    pool_masks: str = Field(description="Their true masks, which answer in the person's place.")
    test: str = Field(
        title="Test images",
        description="Images to measure with: half of them decide which epoch of a training is kept, the other half "
        "only measures.",
    )
    test_masks: str = Field(description="Their true masks.")


class FinalConfig(FrozenModel):
    """The last training, after the rounds; everything else is as in the active model's recipe."""

    side_px: int = Field(512, ge=32, le=2048, multiple_of=16, description="Images are brought to squares of this side.")
    batch_size: int = Field(
        8,
        ge=2,
        title="Images per step",
        description="After so many images the network is adjusted; fewer need less memory.",
    )
    epochs: int = Field(40, ge=1, description="Passes over the training images: more than in a round.")
    labels_only: bool = Field(
        False, title="Answers alone", description="Train on what people answered alone, without the source."
    )
    warm_start: bool = Field(
        True,
        title="Go on from the model in use",
        description="The training goes on from the model in use. Off: it starts anew from the encoder weights.",
    )


class Part(FrozenModel):
    """A part of the catalogue; what is left empty does not narrow it."""

    role: Literal["all", "source", "pool", "validation"] = Field("all", description="Images of one role, or of all.")
    dataset: str | None = Field(None, title="Data set", description="Images of one data set.")
    taxon: str | None = Field(None, description="Images of one taxon, as it is written in the catalogue.")


class SegmentConfig(FrozenModel):
    """How masks of the archive are made."""

    views: Literal["none", "recipe", "dihedral"] = Field(
        "recipe",
        title="Views of an image",
        description="The mean of a model's answers to several views of an image is better than one answer. recipe: "
        "the five published views (plain, two mirrored, one turned, one with noise). dihedral: eight turns and "
        "reflections. none: the image alone, faster.",
    )
    largest_part: bool = Field(
        False, title="Largest part only", description="Keep only the largest connected part of each mask."
    )
    backend: Literal["auto", BackendName] = Field(
        "auto",
        title="Way of computing",
        description="auto: what the model's recipe names, else the fastest of what this machine has, tried on some "
        "images. Or one by name. torch: as trained. folded, compiled, openvino: the same network, prepared to be "
        "faster. With -bf16: in numbers of 16 bits, less exact.",
    )
    shard_size: int | None = Field(
        None,
        ge=1,
        le=100_000,
        title="Images per part",
        description="The archive is done in parts, of which a run that is ended early loses at most one. Empty: as "
        "many as take a minute here, found on a first small part.",
    )
    forward_batch: int = Field(
        32, ge=1, le=4096, title="Views computed at once", description="More are faster until memory is full."
    )


class AuditConfig(FrozenModel):
    """How many masks of the archive a person judges, and which count as usable."""

    masks: int = Field(
        60,
        ge=5,
        le=2_000,
        title="Masks to judge",
        description="So many masks are drawn at random. If all of 60 are usable, at least 94 % of the archive's masks "
        "are, with 95 % certainty; 300 of 300: 99 %.",
    )
    usable_dice: float = Field(
        0.9,
        gt=0,
        le=1,
        title="Usable: least Dice",
        description="A mask is usable if it agrees with the person's to at least this Dice.",
    )
    seed: int = Field(
        0,
        ge=0,
        title="Seed of chance",
        description="Start of the random draw. Another number makes another audit of the same masks.",
    )


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
