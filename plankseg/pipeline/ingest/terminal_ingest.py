"""Ingest at a terminal: progress bar, summary and warnings, without Prefect."""

from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

from rich.console import Console

from plankseg.archives.open_archive import Choice
from plankseg.config import Settings
from plankseg.errors import ArchiveError, SettingsError
from plankseg.imaging.threshold import Outline
from plankseg.pipeline.ingest.register_images import IngestOptions, ingest_folder
from plankseg.progress_bars import counting
from plankseg.storage.store import Store
from plankseg.storage.tables.catalogue import Role


@dataclass(frozen=True, kw_only=True)
class IngestArguments:
    """What was typed at the command line, not yet checked."""

    role: str
    layout: str = "auto"
    masks: Path | None = None
    table: Path | None = None
    dataset: str | None = None
    automatic_masks: bool = False
    outline: str = "level"
    annotator: str | None = None


def ingest_at_terminal(console: Console, settings: Settings, location: str, arguments: IngestArguments) -> None:
    """Ingest under the store's lock with a bar; print the summary, warnings, and where the left-out files are listed.

    Raises:
        SettingsError: an unknown role, layout or outline, or as `ingest_folder`.
        ArchiveError: the archive ends too early; what was whole is kept.
        StoreBusyError: another run is at work on the store.
    """
    for name, value, allowed in (
        ("role", arguments.role, get_args(Role)),
        ("layout", arguments.layout, get_args(Choice)),
        ("outline", arguments.outline, get_args(Outline)),
    ):
        if value not in allowed:
            raise SettingsError(f"--{name} {value} is not known; give one of {', '.join(allowed)}.")
    store = Store.open(settings.store_location, max_image_pixels=settings.max_image_pixels)
    role = cast(Role, arguments.role)
    options = IngestOptions(
        layout=cast(Choice, arguments.layout),
        masks=arguments.masks,
        table=arguments.table,
        dataset=arguments.dataset,
        automatic_masks=arguments.automatic_masks,
        outline=cast(Outline, arguments.outline),
        max_pixels=settings.max_image_pixels,
        annotator=arguments.annotator,
    )
    with store.lock("advance"), counting(console, f"ingest {role}", unit="images") as progress:
        report = ingest_folder(store, location, role=role, options=options, on_progress=progress)
    written = report.write(store)
    lines = [f"{report.summary()}; layout {report.layout}", *report.warnings()]
    lines += [f"{report.fates()} All are listed in {written}"] if written else []
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if report.damage:
        raise ArchiveError(report.damage)
