"""Flow `segment`: masks and measurements of the whole archive, and the export for EcoTaxa."""

from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE

from flows.support.artifacts import show_picture, show_table
from flows.support.runners import run_each
from flows.support.store_lock import StoreLocation, open_store
from plankseg.config import ExportConfig, Part, SegmentConfig, settings
from plankseg.pipeline.archive.shards import SegmentationJob, Shard, images_of, plans
from plankseg.pipeline.models.registry import model_for
from plankseg.storage.tables.models import ModelRow

EVERYTHING, PUBLISHED, FOR_ECOTAXA = Part(), SegmentConfig(), ExportConfig()


@task(cache_policy=NO_CACHE, task_run_name="choose the backend")
def choose_backend(part: Part, how: SegmentConfig, model: ModelRow) -> SegmentConfig:
    """Name the backend that all workers are to use, and show how each did."""
    from plankseg.pipeline.models.backend_choice import choose_archive_backend

    store = open_store()
    choice = choose_archive_backend(store, model, images_of(store, part), device=settings().device)
    show_table("segment-computing", choice.table(), choice.describe())
    return how.model_copy(update={"backend": choice.backend})


@task(cache_policy=NO_CACHE, task_run_name="{name}")
def segment_images(shard: Shard, name: str, at: StoreLocation) -> None:
    """Masks and measures of one shard, on any machine that sees the store."""
    from plankseg.pipeline.archive.segment import segment_shard  # torch is loaded only by the tasks that use it

    row = segment_shard(at.open(), shard, device=settings().device)
    rate = row.images / row.seconds if row.seconds else 0.0
    get_run_logger().info("%s: %d images, %d unreadable, %.1f images/s", name, row.images, row.unreadable, rate)


@task(cache_policy=NO_CACHE, task_run_name="write table and zips")
def export_masks(job: SegmentationJob, config: ExportConfig) -> str:
    """Write the table of measures and the zips for EcoTaxa; show counts and masks."""
    from plankseg.pipeline.archive.export import export, measures_of, summary_of
    from plankseg.pipeline.reports.mask_gallery import mask_gallery

    store = open_store()
    exported = export(store, job.model, job.settings, job.image_ids, config=config)
    rows = summary_of(store, job, exported)
    show_table("segmented", rows, f"{exported.images} images segmented.")
    shown = mask_gallery(store, measures_of(store, job.model, job.settings, job.image_ids))
    if shown is not None:
        title = "Masks, by the Dice that the model expects"
        show_picture("masks", title, shown.picture)
        show_table("masks-images", shown.images, f"{title}: the images of the picture, line by line")
    return f"{exported.images} images: table {exported.table}, {len(exported.zips)} zips for EcoTaxa beside it"


@flow(name="segment", flow_run_name="segment", persist_result=False)
def segment(
    part: Part = EVERYTHING,
    model: str | None = None,
    how: SegmentConfig = PUBLISHED,
    export: ExportConfig = FOR_ECOTAXA,
) -> str:
    """Segment and measure a part of the archive, and write it out for EcoTaxa; what is done already is not repeated.

    Args:
        part: Which images get masks.
        model: The first characters of a model's id, for example 3286a0b6; `plankseg status` and `plankseg report` list
            them. Left empty: the final model, or the model in use if there is no final one, if the final one was
            measured to be worse, or if a round was trained after it.
        how: How masks are made.
        export: What is written in addition to the masks. The masks themselves are in the store; `plankseg export`
            writes copies of them for other programs.
    """
    store = open_store()
    with store.lock("segment"):
        chosen = model_for(store, model)
        if how.backend == "auto":
            how = choose_backend(part, how, chosen)
        for job in plans(store, part, how, chosen):
            for _ in run_each(segment_images, shards_of(job)):
                pass
        return export_masks(job, export)


def shards_of(job: SegmentationJob) -> list[dict[str, Any]]:
    """What is left to do, as parameters of `segment_images`."""
    first = job.total - len(job.todo) + 1
    return [
        {"shard": shard, "name": f"part {number} of {job.total}", "at": StoreLocation.of_settings()}
        for number, shard in enumerate(job.todo, start=first)
    ]
