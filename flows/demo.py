"""Flow `demo`: the whole loop in one run, from ingest and the first model to rounds of correcting and retraining."""

import time
from pathlib import Path
from typing import Annotated, Literal

import typer
from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from flows.advance import advance
from flows.ingest import ImageFolder, ingest
from flows.pretrain import pretrain
from flows.support.artifacts import ABOUT_ANSWERS
from flows.support.store_lock import hold_store, open_store
from plankseg.config import (
    FrozenModel,
    InferenceConfig,
    QueryConfig,
    Recipe,
    RecipeName,
    RoundsConfig,
    TrainingConfig,
    settings,
)
from plankseg.errors import LabelStudioDownError
from plankseg.imaging.arrays import Mask
from plankseg.pipeline.annotation.connection import connect, project_of
from plankseg.pipeline.loop.progress import read_progress
from plankseg.pipeline.models.named_recipes import LITE, recipe_for
from plankseg.pipeline.models.recipes import recipe_in_force
from plankseg.storage.s3.addresses import Address, is_s3

# Of the synthetic domains: small enough for minutes without a GPU. Encoder, loss, schedule and training on the pool's
# automatic masks are those of the recipe `laptop`, which real folders get.
SYNTHETIC = Recipe(
    network=LITE,
    training=TrainingConfig(
        side_px=128,
        epochs=5,
        learning_rate=1e-3,
        schedule="cosine",
        loss="dice_bce",
        pool_mask_weight=1.0,
        draws_per_epoch=208,
        loader_workers=0,
    ),
    query=QueryConfig(batches=12),
    # By name: trying all ways takes longer than scoring 240 images, and which is fastest a clock decides.
    inference=InferenceConfig(backend="torch"),
)


OF_DEMO = (
    "The person in this demo is simulated: a program that knows the true masks corrected the pre-masks through Label "
    "Studio. How many masks it changed, and by how much, is measured; the seconds are assumed."
)
"""Stands on the report, which may be read without this program, on the page of the demo's run and at the terminal."""


class DemoFolders(FrozenModel):
    """Real folders, or the synthetic domains."""

    source: str
    pool: str
    validation: str | None = None
    validation_masks: str | None = None
    pool_masks: str | None = None
    automatic_masks: bool = False
    outline: Literal["level", "local contrast"] = "level"
    clicks: bool = False


@task(cache_policy=NO_CACHE, task_run_name="wait for Label Studio")
def wait_for_label_studio(timeout_s: float = 300.0) -> None:
    """Wait for Label Studio, whose first start takes place while the first model trains."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            with connect(settings()):
                return
        except LabelStudioDownError:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)


def pool_in_bucket() -> Address:
    """Address of the pool's images if the demo's store is in a bucket."""
    return Address(Address.parse(settings().store).bucket, "images/pool")


@task(cache_policy=NO_CACHE, task_run_name="bring the pool into the bucket")
def bring_pool(pool: Path) -> None:
    """Copy the pool's images into the store's bucket; from then on they are read there."""
    from plankseg.pipeline.ingest.bucket_images import bring_to_bucket

    moved = bring_to_bucket(open_store(), pool.resolve(), pool_in_bucket(), role="pool")
    get_run_logger().info("%d images of the pool now lie in %s", moved, pool_in_bucket())


@task(cache_policy=NO_CACHE, task_run_name="a simulated person corrects round {round_number}")
def correct(round_number: int, folders: DemoFolders) -> None:
    """Answer a round through Label Studio's API, as a person who knows the true masks; by clicks where asked."""
    from plankseg.labelling.testing.simulated_annotator import SimulatedAnnotator
    from plankseg.pipeline.annotation.simulated_clicks import clicks_on
    from plankseg.pipeline.ingest.bucket_images import path_below
    from plankseg.pipeline.ingest.given_masks import given_mask_of

    store = open_store()
    catalogue, pool, masks = store.catalogue, Path(folders.pool), Path(str(folders.pool_masks))

    def truth(image_id: str) -> Mask:
        uri = catalogue.row(image_id).uri
        path = path_below(uri, pool_in_bucket(), pool) if is_s3(uri) else catalogue.path(image_id)
        return given_mask_of(path, images=pool, masks=masks, grey=catalogue.load(image_id))

    by_clicks = clicks_on(store, recipe_in_force(store).assist) if folders.clicks else None
    person = SimulatedAnnotator(truth, seed=0, by_clicks=by_clicks)
    with connect(settings()) as label_studio:
        counts = person.answer_round(label_studio, project_of(label_studio, settings()), round_number)
    get_run_logger().info("Round %d answered: %s", round_number, counts)


@flow(name="demo", flow_run_name="demo", persist_result=False)
def demo(folders: DemoFolders, recipe: Recipe = SYNTHETIC, named: RecipeName | None = None) -> None:
    """Ingest, pretrain, then rounds; without masks for the pool, stop where a person must answer.

    Args:
        folders: Where the images are.
        recipe: Network, training, query and number of rounds.
        named: A recipe by name whose network, training and masks are taken in place of those above.
    """
    store = open_store()
    with hold_store(store):
        ingest(ImageFolder(folder=folders.source, role="source", outline=folders.outline))
        if folders.validation:
            ingest(ImageFolder(folder=folders.validation, role="validation", masks=folders.validation_masks))
        ingest(ImageFolder(folder=folders.pool, role="pool", automatic_masks=folders.automatic_masks))
        if is_s3(settings().store):
            bring_pool(Path(folders.pool))
        if named and store.models.active() is None:
            recipe = recipe_for(store, named, recipe)
        elif named:
            recipe = recipe_in_force(store).model_copy(update={"rounds": recipe.rounds})
        pretrain("own", recipe)
        wait_for_label_studio()
        advance(recipe)
        if folders.pool_masks:
            create_markdown_artifact(key="demo", markdown=OF_DEMO, description="Who answers in this demo")
            ABOUT_ANSWERS.set(OF_DEMO)
        while folders.pool_masks and (progress := read_progress(store)).unanswered:
            correct(progress.round, folders)
            advance(recipe)


def main(
    source: Annotated[Path | None, typer.Option(help="Folder of clean images; unset: a synthetic domain.")] = None,
    pool: Annotated[Path | None, typer.Option(help="Folder of noisy images; unset: a synthetic domain.")] = None,
    pool_masks: Annotated[Path | None, typer.Option(help="Masks for a simulated person.")] = None,
    validation: Annotated[Path | None, typer.Option(help="Folder of validation images.")] = None,
    validation_masks: Annotated[Path | None, typer.Option(help="Masks of validation images.")] = None,
    synthetic: Annotated[Path | None, typer.Option(help="Where the synthetic domains are written.")] = None,
    report: Annotated[Path | None, typer.Option(help="Where the report is written.")] = None,
    rounds: Annotated[int, typer.Option(min=1)] = 2,
    clicks: Annotated[bool, typer.Option(help="The simulated person repairs masks by clicks.")] = False,
) -> None:
    """Run the demo against the servers that the environment names."""
    from plankseg.imaging.synthetic.demo_domains import write_domains
    from plankseg.pipeline.reports.store_report import write_report

    started = time.monotonic()
    if (source is None) != (pool is None):
        raise typer.BadParameter("give both --source and --pool, or neither")
    if source and pool:
        folders = DemoFolders(
            source=str(source),
            pool=str(pool),
            pool_masks=str(pool_masks) if pool_masks else None,
            validation=str(validation) if validation else None,
            validation_masks=str(validation_masks) if validation_masks else None,
            automatic_masks=True,
            outline="local contrast",
            clicks=clicks,
        )
    else:
        if synthetic is None:
            raise typer.BadParameter("give --synthetic, or --source and --pool")
        domains = write_domains(synthetic)
        paths = {name: str(path) for name, path in vars(domains).items() if path}
        folders = DemoFolders(**paths, automatic_masks=True, clicks=clicks)
    # Without masks for the simulated person it is a real project: the budget is the published one, not the demo's.
    budget = RoundsConfig(budget=rounds) if folders.pool_masks else RoundsConfig()
    if source:
        demo(folders, Recipe(query=SYNTHETIC.query, rounds=budget), "laptop")
    else:
        demo(folders, SYNTHETIC.model_copy(update={"rounds": budget}))
    if report:
        write_report(open_store(), report, note=OF_DEMO if folders.pool_masks else "")
    if folders.pool_masks:
        print(OF_DEMO)
    minutes, seconds = divmod(round(time.monotonic() - started), 60)
    print(f"The flows took {minutes} min {seconds} s.")


if __name__ == "__main__":
    typer.run(main)
