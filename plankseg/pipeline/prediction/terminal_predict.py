"""The command `plankseg predict` at a terminal: model and images by their names, a bar, a summary of what was done."""

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from rich.console import Console

from plankseg.archives.open_archive import Archive, open_archive
from plankseg.config import BackendName, SegmentConfig, Settings
from plankseg.errors import ArchiveError, SettingsError
from plankseg.pipeline.archive.answers import Answers
from plankseg.pipeline.prediction.output_folder import LEFT_OUT, SPREADSHEET, TABLE
from plankseg.pipeline.prediction.predict import Predicted, PredictOptions, predict
from plankseg.pipeline.prediction.prediction_model import named_model
from plankseg.progress_bars import counting
from plankseg.storage.store import Store

SHOWN = 10  # left-out files that are shown; all are in their table


@dataclass(frozen=True, kw_only=True)
class PredictArguments:
    """What was typed at the command line, not yet checked."""

    out: Path
    model: str | None = None
    store: str | None = None
    views: str = "recipe"
    backend: str = "auto"
    overlays: bool = False
    overwrite: bool = False


def predict_at_terminal(console: Console, settings: Settings, images: str, arguments: PredictArguments) -> None:
    """Make masks with a bar; print the summary, what was left out, and where everything lies.

    Raises:
        SettingsError: views or backend are not known, or there are no images.
        ModelError: no such model.
        ArchiveError: the archive ends too early; masks of what was whole are there.
        OutputError: as `predict`.
    """
    how = _how(arguments)
    store = _store(settings, arguments)
    with console.status("Reading the model ..."):
        model = named_model(arguments.model, store)
    with console.status("Looking at the images ..."):
        archive = open_images(images)
    options = PredictOptions(
        how=how,
        overlays=arguments.overlays,
        overwrite=arguments.overwrite,
        device=settings.device,
        max_pixels=settings.max_image_pixels,
        answers=Answers() if store is None else Answers.of(store),
    )
    out = arguments.out.expanduser().resolve()
    with counting(console, "predict", unit="images") as progress:
        done = predict(archive, model, out, options, on_progress=progress)
    for line in summary(done, out):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if done.damage:
        raise ArchiveError(done.damage)


def open_images(images: str) -> Archive:
    """The images at a path, pattern or address. Of pairs of images and masks the images are taken."""
    archive = open_archive(images)
    return open_archive(images, layout="class_folders") if archive.layout == "pairs" else archive


def summary(done: Predicted, out: Path) -> list[str]:
    """What happened, in a few lines."""
    speed = f", {done.images_per_s:.1f} images/s" if done.made else ""
    people = f", {done.by_people} of them made by people" if done.by_people else ""
    lines = [
        f"{done.masks} masks in {out}{people}; {done.made} made now by {done.backend}{speed}; {done.empty} are empty.",
        f"Measures: {out / TABLE} and {SPREADSHEET} beside it.",
    ]
    if done.left_out:
        were = "1 file was" if len(done.left_out) == 1 else f"{len(done.left_out)} files were"
        lines += [f"{were} left out, listed in {out / LEFT_OUT}:"]
        lines += [f"  {path}: {reason}" for path, reason in done.left_out[:SHOWN]]
    return lines


def _how(arguments: PredictArguments) -> SegmentConfig:
    for name, value, allowed in (
        ("views", arguments.views, ("recipe", "dihedral", "none")),
        ("backend", arguments.backend, ("auto", *get_args(BackendName))),
    ):
        if value not in allowed:
            raise SettingsError(f"--{name} {value} is not known; give one of {', '.join(allowed)}.")
    return SegmentConfig.model_validate({"views": arguments.views, "backend": arguments.backend})


def _store(settings: Settings, arguments: PredictArguments) -> Store | None:
    """The store that is named; without a name, that of the settings where a model of a store is meant and it exists."""
    if arguments.store is not None:
        location = arguments.store if "://" in arguments.store else str(Path(arguments.store).expanduser().resolve())
        if not Store.exists(location):
            raise SettingsError(f"There is no store at {location}; give --store its folder or s3://bucket/prefix.")
        return Store.open(location)
    is_exported = arguments.model is not None and Path(arguments.model).expanduser().exists()
    location = settings.store_location
    return None if is_exported or not Store.exists(location) else Store.open(location)
