"""Ingest: register the images of a folder or an archive, with automatic masks for the clean ones."""

from pathlib import Path
from typing import Literal

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from pydantic import ConfigDict, Field, model_validator

from flows.support.artifacts import show_table
from flows.support.store_lock import hold_store, open_store
from plankseg.config import FrozenModel, settings
from plankseg.errors import ArchiveError
from plankseg.pipeline.ingest.register_images import IngestOptions, IngestReport, ingest_folder
from plankseg.progress_bars import Pace, Throttled

LISTED = 500
"""So many files that were left out are shown in the Prefect UI."""


class Reading(FrozenModel):
    """How images are laid out, if that is not found automatically."""

    dataset: str | None = Field(None, title="Data set", description="Name of the data set; empty: the folder's name.")
    layout: Literal["auto", "class_folders", "ecotaxa", "table", "pairs"] = Field(
        "auto",
        description="auto: found automatically. class_folders: the folder that holds an image is its taxon. ecotaxa: "
        "an export. table: a CSV or TSV says taxon and area. pairs: images and masks side by side.",
    )
    table: str | None = Field(None, description="Table of the images, if it lies outside of the folder.")
    file_column: str | None = Field(None, description="The table's column of file names; empty: found by its name.")
    taxon_column: str | None = Field(None, description="The table's column of taxa; empty: found by its name.")
    area_column: str | None = Field(
        None, description="The table's column of areas in pixels; empty: found by its name; 'none': there is none."
    )


class ImageFolder(FrozenModel):
    """Images, their role, and their masks."""

    model_config = ConfigDict(json_schema_extra={"additionalProperties": True})  # see the validator below

    folder: str = Field(
        description="Folder, tar (plain, gz, xz, bz2), zip, IFCB bin or s3://bucket/prefix with the images, on the "
        "computer where plankseg runs. You need not unpack tar and zip files."
    )
    role: Literal["source", "pool", "validation"] = Field(
        description="source: images of one object on an even background, which get automatic masks. pool: the images "
        "that are to get masks, of which you correct some in each round. validation: images whose correct masks you "
        "have; models are tested on them and never trained on them. If you have none, the recipes 'laptop' and "
        "'quality' of 'pretrain' ask you for masks of 20 images of the pool, beside round 1; 'annotate_validation' "
        "asks for more."
    )
    masks: str | None = Field(
        None,
        description="Masks, if there are some: a folder or zip of files that are named like the images, a .json of "
        "COCO or of Label Studio, or a zip of ImageJ's ROIs.",
    )
    annotator: str | None = Field(
        None,
        description="For a source or a pool: who drew these masks. With a name, they count as that person's answers. "
        "Empty: they are trained on like automatic masks. Masks of validation images need no name.",
    )
    automatic_masks: bool = Field(
        False,
        description="For a pool: make automatic masks too. Recommended, unless you choose the recipe 'published' in "
        "'pretrain': the recipes 'laptop' and 'quality' train on the automatic masks of pool and source, and without "
        "those of the pool on the source only. Automatic masks never count as a person's answers. Off unless you "
        "switch it on, because it nearly doubles the time of an ingest, and each mask is a small file. To add them "
        "later, ingest the pool once more.",
    )
    outline: Literal["level", "local contrast"] = Field(
        "level",
        description="Where the automatic masks of a source end. level: at one grey level, for sharp images. local "
        "contrast: where the grey has changed by a quarter of the way from background to object, which is where people "
        "draw the outline of blurred objects. Automatic masks of a pool always use local contrast.",
    )
    advanced: Reading = Field(
        Reading(), description="Layout, name and table of the images; usually found automatically."
    )

    @model_validator(mode="before")
    @classmethod
    def _group_what_few_need(cls, given: object) -> object:
        """Fields of `advanced` may be given beside it: they once stood there, and scripts send them so."""
        if not isinstance(given, dict):
            return given
        beside = {name: given[name] for name in Reading.model_fields if name in given}
        if not beside:
            return given
        grouped = given.get("advanced") or {}
        advanced = (grouped.model_dump() if isinstance(grouped, Reading) else grouped) | beside
        return {name: value for name, value in given.items() if name not in beside} | {"advanced": advanced}


@task(cache_policy=NO_CACHE, task_run_name="read {images.role}")
def read_images(images: ImageFolder) -> IngestReport:
    """Read, hash and register every image."""
    report = ingest_folder(
        open_store(),
        images.folder,
        role=images.role,
        options=IngestOptions(
            dataset=images.advanced.dataset,
            masks=Path(images.masks) if images.masks else None,
            annotator=images.annotator,
            layout=images.advanced.layout,
            automatic_masks=images.automatic_masks,
            outline=images.outline,
            table=Path(images.advanced.table) if images.advanced.table else None,
            columns=named_columns(
                file=images.advanced.file_column, taxon=images.advanced.taxon_column, area=images.advanced.area_column
            ),
            max_pixels=settings().max_image_pixels,
        ),
        on_progress=report_progress(images.role),
    )
    get_run_logger().info("%s; layout %s", report.summary(), report.layout)
    return report


@flow(name="ingest", flow_run_name="ingest {images.role}", persist_result=False)
def ingest(images: ImageFolder) -> str:
    """Register the images of a folder or an archive; doing it again adds only what is new.

    Args:
        images: Where the images are, and their role.
    """
    store = open_store()
    with hold_store(store):
        report = read_images(images)
        show_problems(report, report.write(store))
    if report.damage:
        raise ArchiveError(report.damage)
    return report.summary()


def show_problems(report: IngestReport, written: Path | None) -> None:
    """Warn of classes without an image, and show the first 500 files that were left out; the file has them all."""
    for warning in report.warnings():
        get_run_logger().warning(warning)
    if written is not None:
        get_run_logger().info("%s All are listed in %s", report.fates(), written)
        rows = [{"file": report.shown_path(problem), "reason": problem.reason} for problem in report.problems[:LISTED]]
        shown = f"Below are {len(rows)} of {len(report.problems)}; all are listed in {written}."
        show_table(f"ingest-{report.role}", rows, f"{report.summary()}. {report.fates()} {shown}")


def report_progress(role: str) -> Throttled:
    """A progress bar in the Prefect UI and a log line, every ten seconds."""
    bar = create_progress_artifact(0.0, key=f"ingest-{role}-progress", description=f"{role.capitalize()} images read")

    def tell(pace: Pace) -> None:
        update_progress_artifact(bar, pace.percent)  # type: ignore[arg-type]
        get_run_logger().info("%s: %s", role, pace)

    return Throttled(tell, every_s=10)


def named_columns(**columns: str | None) -> dict[str, str]:
    """The columns that were named in the run form; 'none' is none."""
    return {meaning: "" if name == "none" else name for meaning, name in columns.items() if name}
