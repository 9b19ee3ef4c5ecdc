"""Recipes with names: `published`, `laptop` and `quality`; their numbers come from how many images there are."""

import numpy as np

from plankseg.config import (
    MasksConfig,
    NetworkConfig,
    QueryConfig,
    Recipe,
    RecipeChoice,
    RecipeName,
    TrainingConfig,
    ValidationConfig,
)
from plankseg.errors import SettingsError
from plankseg.pipeline.models.automatic_masks import target_acceptance
from plankseg.storage.store import Store
from plankseg.storage.tables.catalogue import Role

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

ONE_SCALE = 2.0
"""Source and target whose images differ in size by more than this factor are not of one scale."""
SQUARE_SIDE_PX = {"laptop": 160, "quality": 256}
"""Side of the one square for images that are not of one scale."""
MOST_MEASURED = 2_000

CONTROLS = 2
"""Images of a round that are drawn at random: their effort is that of the whole pool. In simulations even all of them
at random cost nothing that could be measured (docs/simulation.md)."""

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


def chosen_recipe(store: Store, choice: RecipeChoice, others: Recipe) -> Recipe:
    """What a person chose: the recipe of a name for a store's images, or `others` as it is.

    Raises SettingsError where a name is chosen and `others` has settings that the named recipe would replace.
    """
    if choice == "own":
        return others
    untouched = Recipe()
    replaced = [
        f"{part}.{field}"
        for part in ("network", "training", "masks")
        for field, value in getattr(others, part)
        if value != getattr(getattr(untouched, part), field)
    ]
    if replaced:
        raise SettingsError(
            f"The recipe '{choice}' has a network, training and masks of its own, so {', '.join(replaced)} would not"
            " be used. Choose the recipe 'own' to train with your numbers, or leave these as they are."
        )
    return recipe_for(store, choice, others)


def recipe_for(store: Store, name: RecipeName, others: Recipe) -> Recipe:
    """The recipe of a name for the images of a store that have a usable mask and are not of the validation set.

    Network, training, masks and the validation images that are asked for are the named recipe's; the rest of the
    validation, query, rounds and inference are those of `others`. Where its query was left as it is, two images of a
    round are drawn at random. Where the automatic method rejects more than one
    image of five of the target, its images are taken to hold more than one object each, and objects of other images are
    pasted beside those of the training. Where images of source and target differ in size by more than a factor of two,
    as those of two instruments do, a pixel is not the same length in both, and all are laid into one square.
    """
    kept_apart = set(store.catalogue.ids("validation"))
    images = {row.image_id for row in store.labels.current() if row.status == "usable"} - kept_apart
    named = named_recipe(name, len(images))
    validation = others.validation.model_copy(update={"ask_for": named.validation.ask_for})
    training = named.training
    if name != "published" and target_acceptance(store).is_below(training.pool_mask_min_share):
        training = training.model_copy(update={"neighbour_share": CROWDED_NEIGHBOURS})
    if name != "published" and not _are_of_one_scale(store):
        training = training.model_copy(update={"largest_zoom": None, "side_px": SQUARE_SIDE_PX[name]})
    query = others.query
    if name != "published" and query == QueryConfig():
        query = query.model_copy(update={"random_controls": CONTROLS})
    changed = {
        "network": named.network,
        "training": training,
        "masks": named.masks,
        "validation": validation,
        "query": query,
    }
    return others.model_copy(update=changed)


def _are_of_one_scale(store: Store) -> bool:
    """Whether images of source and target (the pool, else the validation images) are of comparable size."""
    source = _typical_size_px(store, "source")
    target = _typical_size_px(store, "pool") or _typical_size_px(store, "validation")
    return source is None or target is None or 1 / ONE_SCALE <= target / source <= ONE_SCALE


def _typical_size_px(store: Store, role: Role) -> float | None:
    """The median of the larger sides of some images of a role, or None where there is no image."""
    ids = store.catalogue.ids(role)
    rows = store.catalogue.rows([ids[index] for index in range(0, len(ids), max(1, len(ids) // MOST_MEASURED))])
    return float(np.median([max(row.height, row.width) for row in rows])) if rows else None
