"""Recipes with names: `published`, `laptop` and `quality`; their numbers come from how many images there are."""

from plankseg.config import MasksConfig, NetworkConfig, Recipe, RecipeName, TrainingConfig, ValidationConfig
from plankseg.pipeline.models.automatic_masks import pool_acceptance
from plankseg.storage.store import Store

LITE = NetworkConfig(encoder="timm-tf_efficientnet_lite0")
"""A small encoder whose ImageNet weights come with the installation."""

ON_SCANS = TrainingConfig(
    largest_zoom=1.0,
    side_px_per_round=32,
    learning_rate=1e-3,
    schedule="cosine",
    loss="dice_bce",
    pool_mask_weight=1.0,
)
"""What is best on vignettes of a scanner, whatever the budget (docs/quality.md)."""

LAPTOP_DRAWS, FEWEST_DRAWS = 1024, 32
CROWDED_NEIGHBOURS = 0.7
"""Neighbour share for a pool whose images mostly hold more than one object (docs/quality.md)."""

ASKED_FOR = 20
"""Validation images that a person is asked for where there are none."""


def named_recipe(name: RecipeName, images: int) -> Recipe:
    """The recipe of a name for a training set of so many images.

    `published` is the published one, whatever the number. `laptop` is sized for two cores, `quality` for a GPU. Both
    start from ImageNet weights that need no hub, keep the images' scale, train on the pool's automatic masks beside the
    source's, and choose how masks are post-processed. What they reach is in docs/quality.md.
    """
    if name == "published":
        return Recipe()
    if name == "laptop":
        draws = min(LAPTOP_DRAWS, max(FEWEST_DRAWS, 2 * images))
        training = ON_SCANS.model_copy(update={"side_px": 384, "epochs": 10, "draws_per_epoch": draws})
    else:
        training = ON_SCANS.model_copy(update={"side_px": 512, "epochs": 40, "largest_zoom": 1.5})
    masks, validation = MasksConfig(postprocessing="choose"), ValidationConfig(ask_for=ASKED_FOR)
    return Recipe(network=LITE, training=training, masks=masks, validation=validation)


def recipe_for(store: Store, name: RecipeName, others: Recipe) -> Recipe:
    """The recipe of a name for the images of a store that have a usable mask and are not of the validation set.

    Network, training, masks and the validation images that are asked for are the named recipe's; the rest of the
    validation, query, rounds and inference are those of `others`. Where the automatic method rejected more than one
    image of five of the pool, its images are taken to hold more than one object each, and objects of other images are
    pasted beside those of the training.
    """
    kept_apart = set(store.catalogue.ids("validation"))
    images = {row.image_id for row in store.labels.current() if row.status == "usable"} - kept_apart
    named = named_recipe(name, len(images))
    validation = others.validation.model_copy(update={"ask_for": named.validation.ask_for})
    training = named.training
    if name != "published" and pool_acceptance(store).is_below(training.pool_mask_min_share):
        training = training.model_copy(update={"neighbour_share": CROWDED_NEIGHBOURS})
    changed = {"network": named.network, "training": training, "masks": named.masks, "validation": validation}
    return others.model_copy(update=changed)
