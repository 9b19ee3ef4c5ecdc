"""Flow `annotate_validation`: a few images of every class, masked by a person and kept apart from all training."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE

from flows.support.artifacts import show_refusals, show_table
from flows.support.flow_options import NETWORK_RETRIES
from flows.support.store_lock import hold_store, open_store
from plankseg.config import Recipe, ValidationDraw, settings
from plankseg.pipeline.annotation.connection import connect, project_of_validation
from plankseg.pipeline.models.recipes import recipe_in_force
from plankseg.pipeline.pool.near_duplicates import complete_hashes, near_duplicates
from plankseg.storage.store import Store

if TYPE_CHECKING:
    from plankseg.pipeline.annotation.validation_premasks import Premasks

TWO_OF_EACH = ValidationDraw()


@task(cache_policy=NO_CACHE, task_run_name="collect masks of the validation set", **NETWORK_RETRIES)
def fetch_masks() -> None:
    """Take new answers into the label store."""
    from plankseg.pipeline.annotation.validation_images import collect_masks

    with connect(settings()) as label_studio:
        collected = collect_masks(open_store(), label_studio, project_of_validation(label_studio, settings()))
    get_run_logger().info("Validation set: %d new answers", collected.new)
    show_refusals("validation", collected)


@task(cache_policy=NO_CACHE, task_run_name="draw {draw.per_class} images of each taxon")
def draw_images(draw: ValidationDraw) -> None:
    """Fill up every class from the pool."""
    from plankseg.pipeline.annotation.validation_draw import draw_validation

    drawn = draw_validation(open_store(), draw)
    log = get_run_logger()
    log.info("%d images drawn, %d taxa have fewer than %d", len(drawn.new), len(drawn.short), draw.per_class)
    if drawn.unreadable:
        log.warning("%d images could not be read and were left out: %s", len(drawn.unreadable), drawn.unreadable)


@task(cache_policy=NO_CACHE, task_run_name="pre-masks of the model in use")
def make_premasks() -> "Premasks":
    """Pre-masks of the active model for the images that wait for a person."""
    from plankseg.pipeline.annotation.validation_premasks import premasks_of_active

    return premasks_of_active(open_store(), settings())


@task(cache_policy=NO_CACHE, task_run_name="push the validation set", **NETWORK_RETRIES)
def push_images(premasks: "Premasks | None") -> None:
    """Push the images that have no task yet into the project of the validation set."""
    from plankseg.pipeline.annotation.validation_images import push_unmasked

    with connect(settings()) as label_studio:
        project = project_of_validation(label_studio, settings())
        report = push_unmasked(
            open_store(),
            label_studio,
            project,
            premasks=premasks.masks if premasks else None,
            model_id=premasks.model_id if premasks else None,
        )
    get_run_logger().info(
        "Label Studio (project number %d): %d images open, %d of them new",
        project,
        len(report.tasks),
        len(report.imported),
    )


def show_validation(store: Store) -> str:
    """Put classes and near-duplicates into the Prefect UI. Returns one line for the run."""
    from plankseg.pipeline.annotation.validation_images import class_counts

    bits = recipe_in_force(store).validation.near_duplicate_bits
    classes, near = class_counts(store), near_duplicates(store, bits=bits)
    masked, still_open = sum(counted.masked for counted in classes), sum(counted.open for counted in classes)
    summary = (
        f"{masked} images of {len(classes)} taxa masked, {still_open} open in Label Studio; "
        f"{len(near)} images that look nearly like one of them are kept out of pool and training"
    )
    show_table("validation-set", [asdict(counted) for counted in classes], summary)
    if near:
        text = f"{len(near)} images look nearly like one of the validation set (at most {bits} of 64 bits differ)."
        show_table("near-duplicates", [asdict(duplicate) for duplicate in near[:500]], text)
    return summary


@task(cache_policy=NO_CACHE, task_run_name="draw {images} images of the pool")
def draw_from_pool(images: int) -> int:
    """Draw images of the whole pool for a first validation set. Returns how many."""
    from plankseg.pipeline.annotation.validation_draw import draw_at_random

    drawn = draw_at_random(open_store(), images)
    if drawn.unreadable:
        get_run_logger().warning("%d images could not be read: %s", len(drawn.unreadable), drawn.unreadable)
    return len(drawn.new)


def ask_for_validation(store: Store, recipe: Recipe) -> None:
    """Put a first validation set before a person, where the recipe asks for one and there is none; else only collect.

    Until it is masked a model is judged on a part of the clean source, which says little about the pool.
    """
    from plankseg.pipeline.annotation.validation_images import unmasked

    if not recipe.validation.ask_for:
        return
    log = get_run_logger()
    if not store.catalogue.ids("validation") and draw_from_pool(recipe.validation.ask_for):
        complete_hashes(store)
        push_images(None)
    elif unmasked(store):
        fetch_masks()
    if waiting := len(unmasked(store)):
        log.warning(
            "%d validation images wait for a person in the Label Studio project of the validation set. Mask them first:"
            " until then no figure says how good the masks of the pool are.",
            waiting,
        )


@flow(name="annotate_validation", flow_run_name="validation set", persist_result=False)
def annotate_validation(draw: ValidationDraw = TWO_OF_EACH) -> str:
    """Collect the person's masks, fill up the classes, and put unmasked images into Label Studio. Can be repeated.

    Args:
        draw: Number of images of each taxon, and whether a model makes pre-masks.
    """
    store = open_store()
    with hold_store(store):
        fetch_masks()
        draw_images(draw)
        complete_hashes(store)
        push_images(make_premasks() if draw.premasks else None)
        return show_validation(store)
