"""Prediction of masks for images that lie anywhere, into a folder: the same bits as the flow `segment`.

Images are read in the order of their container, each once, by threads, while the network computes; masks are measured
and written by others. What is in memory does not grow with their number, but for eight bytes and a hash of each name.
"""

import hashlib
import json
import time
import zipfile
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from errno import EEXIST, EISDIR, ENAMETOOLONG, ENOTDIR
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath

import cv2

from plankseg.archives.image_names import image_key, mask_key
from plankseg.archives.layouts import Record
from plankseg.archives.open_archive import Archive
from plankseg.config import SegmentConfig
from plankseg.errors import ArchiveError, ImageReadError, OutputError, StoreError
from plankseg.imaging.arrays import Grey
from plankseg.imaging.masks import encode_mask_8bit
from plankseg.imaging.pictures.overlay import encode_jpeg, outline
from plankseg.imaging.reading import DEFAULT_MAX_PIXELS, read_grey
from plankseg.inference.prediction import Prediction
from plankseg.inference.prefetch import Square, Unreadable, squares_ahead
from plankseg.learning.network.architecture import choose_device
from plankseg.parallel import ordered_map
from plankseg.pipeline.archive.answers import MODEL, Answers
from plankseg.pipeline.archive.measured_masks import MaskMaker, archive_predictor, measures_of_mask
from plankseg.pipeline.archive.shards import settings_of
from plankseg.pipeline.models.exported_model import ExportedModel
from plankseg.pipeline.prediction.output_folder import (
    Job,
    OutputFolder,
    open_folder,
    overlay_name,
    recorded_job,
    writing,
)
from plankseg.pipeline.prediction.prediction_model import FEWEST_FOR_A_TRIAL, backend_name, backend_of

WRITERS = 4
ROWS_AT_ONCE, SECONDS_AT_ONCE = 1_000, 20.0  # until rows are recorded: a kill loses at most the work on these
_FAULTS = (ImageReadError, ArchiveError, StoreError, OSError, ValueError, zipfile.BadZipFile, cv2.error)
_OF_ONE_NAME = {ENAMETOOLONG, ENOTDIR, EEXIST, EISDIR}  # errors of one name; all others end the run
Row = dict[str, object]


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """How masks are made. `overlays`: pictures with the masks' outlines too. `answers` of people come before masks."""

    how: SegmentConfig = field(default_factory=SegmentConfig)
    overlays: bool = False
    overwrite: bool = False
    device: str = "auto"
    max_pixels: int = DEFAULT_MAX_PIXELS
    answers: Answers = field(default_factory=Answers)


@dataclass(frozen=True)
class Predicted:
    """What a run did: masks there in all, of them made now and a person's; images left out, and why; the speed."""

    masks: int
    made: int
    by_people: int
    empty: int
    left_out: tuple[tuple[str, str], ...]
    backend: str
    seconds: float
    damage: str | None = None

    @property
    def images_per_s(self) -> float:
        """Masks made per second of the whole run, without the start of the program."""
        return self.made / self.seconds if self.seconds else 0.0


@dataclass
class _Image:
    """An image on its way; what readers learn of it is needed again when its mask is written."""

    record: Record
    grey: Grey | None = None

    @property
    def path(self) -> str:
        return self.record.entry.name


def predict(
    archive: Archive,
    model: ExportedModel,
    out: Path,
    options: PredictOptions,
    on_progress: Callable[[int, int], None] | None = None,
) -> Predicted:
    """Make the mask of every image of an archive, and the tables; run again, it makes what is missing.

    Raises:
        OutputError: the folder holds something else, or cannot be written.
        BackendError: the backend that is named is not available here.
        ScoreError: the model's answer is not finite.
        ImageReadError: not one image could be read.
    """
    started = time.monotonic()
    if Path(str(archive.location)) == out.resolve():
        raise OutputError(f"{out} holds the images themselves; name another folder for the masks.")
    job = _job(archive, model, out, options)
    with open_folder(out, job, overwrite=options.overwrite) as folder:
        run = _Run(archive, model, folder, options)
        rows, last = list[Row](), time.monotonic()
        for done, row in enumerate(run.rows(), 1):
            rows += [row] if row is not None else []
            if len(rows) >= ROWS_AT_ONCE or time.monotonic() - last > SECONDS_AT_ONCE:
                folder.record(rows)
                rows, last = [], time.monotonic()
            if on_progress is not None:
                on_progress(run.earlier + done, max(run.earlier + done, archive.images))
        folder.record(rows)
        left_out = (*run.left_out, *archive.problems)
        table = folder.finish(left_out)
    if not table.num_rows:
        raise ImageReadError(f"None of {len(left_out)} images can be read. The first: {': '.join(left_out[0])}")
    origins = table["origin"].to_pylist()
    return Predicted(
        masks=table.num_rows,
        made=run.made,
        by_people=len(origins) - origins.count(MODEL),
        empty=table["empty"].to_pylist().count(True),
        left_out=left_out,
        backend=json.loads(job.settings)["backend"],
        seconds=time.monotonic() - started,
        damage=archive.damage,
    )


def _job(archive: Archive, model: ExportedModel, out: Path, options: PredictOptions) -> Job:
    """What makes the masks; a job that is gone on with keeps its backend, so that all masks come from one."""
    recipe = model.facts.recipe

    def job_with(backend: str) -> Job:
        settings = settings_of(options.how.model_copy(update={"backend": backend}), recipe.query)
        return Job(str(archive.location), model.facts.model_id, settings)

    earlier = recorded_job(out)
    if earlier is not None and not options.overwrite and options.how.backend == "auto":
        again = job_with(json.loads(earlier.settings).get("backend", ""))
        if again == earlier:
            return again
    draw = partial(_some_images, archive, options.max_pixels)
    return job_with(backend_name(model, options.how, choose_device(options.device), draw))


def _some_images(archive: Archive, max_pixels: int, wanted: int) -> dict[str, Grey]:
    """Images to try backends on, from the beginning of an archive; none of one too small for a trial."""
    if archive.images < FEWEST_FOR_A_TRIAL:
        return {}
    step, found = min(archive.images // wanted, FEWEST_FOR_A_TRIAL), dict[str, Grey]()
    for record in islice(archive.records(), 0, None, step):
        if len(found) == wanted:
            break
        if record.fault is None:
            try:
                found[record.entry.name] = read_grey(record.entry.read(), max_pixels=max_pixels)
            except _FAULTS:
                continue  # named when its turn comes
    return found


class _Run:
    """One pass over an archive; `earlier` images were done before, `made` now, the others are `left_out`."""

    def __init__(self, archive: Archive, model: ExportedModel, folder: OutputFolder, options: PredictOptions) -> None:
        self.earlier = self.made = 0
        self.left_out: list[tuple[str, str]] = []
        self._archive, self._folder, self._options = archive, folder, options
        self._facts = model.facts
        self._maker = MaskMaker.of(model.facts.postprocessing.as_used(), folder.job.settings)
        device = choose_device(options.device)
        backend = backend_of(model, json.loads(folder.job.settings)["backend"], device)
        self._predictor = archive_predictor(backend, _no_ids, framing=model.facts.framing, settings=folder.job.settings)

    def rows(self) -> Iterator[Row | None]:
        """The row of each image that is not done yet, once its mask is written; None for one that is left out."""
        waiting = deque[_Image]()
        squares = squares_ahead(self._images(waiting), self._read, step=self._predictor.batch_size, first=1)
        batches = self._predictor.predictions(squares, independent=True)
        pairs = ((waiting.popleft(), item) for batch in batches for item in batch)
        for image, row in ordered_map(self._row, pairs, threads=WRITERS, ahead=4 * WRITERS, name="write-masks"):
            if isinstance(row, str):
                self.left_out.append((image.path, row))
            else:
                self.made += 1
            yield None if isinstance(row, str) else row

    def _images(self, waiting: deque[_Image]) -> Iterator[_Image]:
        """The images that are to be read; each waits for its mask."""
        for record in self._archive.records():
            if record.fault is not None:
                self.left_out.append((record.entry.name, record.fault))
            elif self._is_done(record.entry.name):
                self.earlier += 1
            else:
                waiting.append(_Image(record))
                yield waiting[-1]

    def _is_done(self, path: str) -> bool:
        if not self._folder.is_done(path):
            return False
        return not self._options.overlays or (self._folder.root / overlay_name(self._mask_name(path))).is_file()

    def _read(self, image: _Image) -> Square | Unreadable:
        try:
            data = image.record.entry.read()
            grey = read_grey(data, max_pixels=self._options.max_pixels)
            square = Square.of(hashlib.sha256(data).hexdigest(), grey, self._facts.framing)
        except _FAULTS as error:
            return Unreadable(image.path, str(error))
        image.grey = grey if self._options.overlays or self._maker.uses_image else None
        return square

    def _row(self, pair: tuple[_Image, Prediction | Unreadable]) -> tuple[_Image, Row | str]:
        """Write the mask of one image, and return its row, or the reason why it has none."""
        image, item = pair
        if isinstance(item, Unreadable):
            return image, item.reason
        mask, measures = self._maker.mask_and_measures(item, image.grey)
        answer = self._options.answers.of_image(item.image_id, mask.shape)
        if answer.mask is not None:
            mask, measures = answer.mask, measures_of_mask(answer.mask)
        name = self._mask_name(image.path)
        try:
            self._folder.write(name, encode_mask_8bit(mask))
            if self._options.overlays:
                assert image.grey is not None, "kept since it was read"
                self._folder.write(overlay_name(name), encode_jpeg(outline(image.grey, mask)))
        except OSError as error:
            if error.errno not in _OF_ONE_NAME:
                with writing(self._folder.root):
                    raise
            return image, f"its mask cannot be written: {error.strerror}; rename it, or a folder above it"
        record = image.record
        return image, {
            "path": image.path,
            "mask": name,
            "origin": answer.origin,
            "status": answer.status,
            "taxon": record.taxon,
            "external_id": record.external_id,
            "image_id": item.image_id,
            "model_id": self._facts.model_id,
            "expected_dice": measures.pop("confidence"),
        } | measures

    def _mask_name(self, path: str) -> str:
        """The image's path with `.png` for its suffix; behind it where another image has the same name without it."""
        is_shared = mask_key(path) is not None or self._archive.names.count("pair", image_key(path)) > 1
        return f"{path}.png" if is_shared else str(PurePosixPath(path).with_suffix(".png"))


def _no_ids(image_id: str) -> Grey:
    raise AssertionError(f"{image_id}: images of a folder are read in its order, not by their ids")
