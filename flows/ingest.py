"""Which images do we have, and which of the clean ones get an automatic mask?"""

from pathlib import Path
from typing import Literal

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from pydantic import Field

from flows.shared import at_work, open_store
from plankseg.config import FrozenModel, settings
from plankseg.rounds.ingesting import IngestReport, ingest_folder


class ImageFolder(FrozenModel):
    """A folder of images and the part they play."""

    folder: str = Field(description="Folder with the images; folders in it are taken as taxa.")
    role: Literal["source", "pool", "validation"] = Field(
        description="source: clean, gets automatic masks. pool: images to choose from. validation: never trained on."
    )
    masks: str | None = Field(None, description="Folder of masks with the images' names, where there are some.")
    dataset: str | None = Field(None, description="Name of the data set; empty: the folder's name.")


@task(cache_policy=NO_CACHE, task_run_name="read {images.role}")
def read_images(images: ImageFolder) -> IngestReport:
    """Read, hash and register every image of the folder."""
    report = ingest_folder(
        open_store(),
        Path(images.folder),
        role=images.role,
        dataset=images.dataset,
        masks=Path(images.masks) if images.masks else None,
        max_pixels=settings().max_image_pixels,
    )
    get_run_logger().info(report.summary())
    return report


@flow(name="ingest", flow_run_name="ingest {images.role}", persist_result=False)
def ingest(images: ImageFolder) -> str:
    """Register the images of a folder; doing it again adds only what is new.

    Args:
        images: The folder and the part its images play.
    """
    with at_work(open_store()):
        report = read_images(images)
    problems = [*report.rejected, *report.maskless]
    if problems:
        create_table_artifact(
            key=f"ingest-{images.role}",
            table=[{"file": Path(problem.path).name, "reason": problem.reason} for problem in problems[:500]],
            description=f"{report.summary()}. The first 500 files that were left out, or have no automatic mask.",
        )
    return report.summary()
