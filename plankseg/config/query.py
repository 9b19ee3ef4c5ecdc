"""How the images of a round are chosen."""

from typing import Literal, Self

from pydantic import Field, model_validator

from plankseg.config.choices import Measure, SelectorName
from plankseg.config.frozen_model import FrozenModel


class QueryConfig(FrozenModel):
    """How the images of a round are chosen."""

    selector: SelectorName = Field(
        "stochastic_batches",
        title="Way of choosing",
        description="stochastic_batches, the published way: several sets of images are picked at random, and the one "
        "that the model is most uncertain about is taken. In our simulations no way made better models than random, "
        "and uncertain images cost more clicks, so random is a good choice too. random: at random. top_k: the most "
        "uncertain images of the pool. stratified: at random, equally many of each taxon. power: at random, "
        "uncertain images more often. stratified_power: as power, two thirds of the images spread over the taxa. "
        "typical_first: typical images in round 1, then stratified_power. core_set: images unlike each other and "
        "unlike those already corrected.",
    )
    mode: Literal["draws", "partition"] = Field(
        "draws",
        title="How candidate sets are made",
        description="draws: each set is picked at random from the whole pool. partition: the pool is shuffled and "
        "divided into sets, so that no image is in two of them.",
    )
    batch_size: int = Field(
        20, ge=1, le=1000, title="Images per round", description="How many images a person gets in a round."
    )
    batches: int = Field(
        50,
        ge=1,
        title="Candidate sets",
        description="How many sets are compared. For power, stratified_power, typical_first and core_set: they "
        "choose from images that are picked at random, as many as all these sets contain.",
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
        description="Number of rounds in which the exponent goes from the first to the last value.",
    )
    spread_share: float = Field(
        0.6667,
        ge=0,
        le=1,
        title="Share spread over the taxa",
        description="stratified_power: this share of a round is spread over the taxa, or over groups. From 0 to 1.",
    )
    strata: Literal["taxon", "clusters"] = Field(
        "taxon",
        title="Spread over",
        description="taxon: the images' taxa. clusters: groups of images that look alike to the network; "
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
        description="A model is uncertain where it gives different masks for several views of an image. recipe: five "
        "views (plain, two mirrored, one turned, one with noise). dihedral: eight, turned and mirrored.",
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
        description="How many images of a round are shown without a pre-mask, to see how much a visible one leads the "
        "person.",
    )
    random_controls: int = Field(
        0,
        ge=0,
        title="Images picked at random",
        description="How many images of a round are picked at random: their effort and Dice are those of the whole "
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
        title="Random seed",
        description="A number from which all random choices follow: the same number gives the same choices. Each "
        "round chooses anew.",
    )

    @model_validator(mode="after")
    def _controls_leave_room(self) -> Self:
        if self.random_controls >= self.batch_size or self.blind > self.batch_size - self.random_controls:
            raise ValueError(
                f"of {self.batch_size} images, {self.random_controls} at random and {self.blind} of the others without "
                "a pre-mask are too many: choose fewer"
            )
        return self
