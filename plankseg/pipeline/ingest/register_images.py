"""Registration of images: files become catalogue rows, clean images get automatic masks.

Every image is decoded whole: its hash identifies it, only its pixels prove that it can be read. That costs less than a
third of a millisecond for a vignette, and what is listed can be trained on.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import cv2

from plankseg.archives.containers.entries import Entry
from plankseg.archives.containers.folder import Folder
from plankseg.archives.layouts import Record
from plankseg.archives.metadata_tables import Meaning
from plankseg.archives.open_archive import Archive, Choice, open_archive
from plankseg.errors import (
    ArchiveError,
    ImageReadError,
    MaskShapeError,
    ObjectCorruptError,
    ObjectMissingError,
    SettingsError,
    StoreError,
)
from plankseg.imaging.arrays import Grey, Mask
from plankseg.imaging.masks import encode_mask, pixel_sha
from plankseg.imaging.perceptual_hash import perceptual_hash
from plankseg.imaging.reading import DEFAULT_MAX_PIXELS, OpenedImage, open_image
from plankseg.imaging.threshold import Outline, automatic_mask
from plankseg.parallel import Ahead, ordered_map
from plankseg.pipeline.ingest.byte_budget import ByteBudget
from plankseg.pipeline.ingest.given_answers import GivenAnswers
from plankseg.pipeline.ingest.given_masks import SAMPLED, Polarity, given_mask, only_mask, polarity_of
from plankseg.pipeline.ingest.ingest_report import IngestReport as IngestReport
from plankseg.pipeline.ingest.ingest_report import Problem as Problem
from plankseg.pipeline.ingest.known_images import KnownImages
from plankseg.pipeline.ingest.mask_files import MaskFile, open_mask_file
from plankseg.pipeline.pool.unreadable import include_again
from plankseg.storage.objects.tar_bundle import store_bundle
from plankseg.storage.store import Store
from plankseg.storage.tables.catalogue import ImageRow
from plankseg.storage.tables.catalogue import Role as Role
from plankseg.storage.tables.labels import LabelRow

CHUNK = 500  # rows per commit at the beginning: a kill loses at most the work on these
MAX_ROWS = 5_000  # per commit later: each one looks at all rows before it
MAX_HELD_BYTES = 64 * 2**20  # bytes of images of a compressed tar, until they are stored
READ_AHEAD = 32  # files that are read before their turn
MAX_AHEAD_BYTES = 128 * 2**20  # of these files, where they are read in the archive's order
READING_BUDGET = 192 * 2**20  # bytes of files that all threads hold together
DECODING_BUDGET = 512 * 2**20  # and what decoding them takes
BYTES_OF_A_PIXEL = 32  # in no image file does a pixel take as much
SPARE_BYTES = 2**20  # for what else is in the file: profiles, previews, notes
LEAST_GREY = 3  # the largest grey of a 16-bit image that is too dark to be one: its values are below 771 of 65535


@dataclass(frozen=True, kw_only=True)
class IngestOptions:
    """How an archive is read. `masks`: a folder of masks of the same relative names, or a file of them, as given.

    `table` lies outside of the archive; `columns` names columns with unusual names, '' for none. `automatic_masks`:
    images of a pool get automatic masks too, for `training.pool_mask_weight`. `outline` says where the masks of a
    source end; those of a pool end at a quarter of the local contrast, see `automatic_mask`. Masks that are handed in
    count as answers of `annotator` where one is named.
    """

    dataset: str | None = None
    masks: Path | None = None
    layout: Choice = "auto"
    table: Path | None = None
    columns: dict[Meaning, str] | None = None
    max_pixels: int = DEFAULT_MAX_PIXELS
    automatic_masks: bool = False
    outline: Outline = "level"
    annotator: str | None = None

    def makes_masks(self, role: Role) -> bool:
        """Whether images of this role get automatic masks."""
        return role == "source" or (role == "pool" and self.automatic_masks)


Guess = Literal["12 bits", "dark field"]
_NOTES: dict[Guess, str] = {
    "12 bits": "{} images of 16 bits have values up to 4095 only and were read as 12 bits.",
    "dark field": "{} images were read as dark field: a bright object on black. Look at a few of their masks.",
}


@dataclass(frozen=True)
class _NewImage:
    """One readable file: its catalogue row and, where its role asks for one, its label; its mask is in the store.

    The entry's bytes are still to be stored where they can be read only once. `guesses` were made while reading it.
    """

    image: ImageRow
    label: LabelRow | None
    entry: Entry
    guesses: frozenset[Guess] = frozenset()


@dataclass(frozen=True)
class _Task:
    """What is the same for all files of one ingest."""

    store: Store
    archive: Archive
    role: Role
    options: IngestOptions
    known: KnownImages
    report: IngestReport
    polarity: Polarity
    mask_file: MaskFile | None = None
    answers: GivenAnswers | None = None
    reading: ByteBudget = field(default_factory=lambda: ByteBudget(READING_BUDGET))
    decoding: ByteBudget = field(default_factory=lambda: ByteBudget(DECODING_BUDGET))
    guesses: Counter[Guess] = field(default_factory=Counter)


def ingest_folder(
    store: Store,
    folder: Path | str,
    *,
    role: Role,
    options: IngestOptions | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> IngestReport:
    """Open a folder, tar or zip and put its images into the catalogue, as `ingest`.

    Raises:
        SettingsError: nothing there, not one image file in it, or no such folder of masks.
        ArchiveError: an archive, or the table that was handed in, cannot be read at all.
    """
    options = options or IngestOptions()
    if options.masks is not None:
        masks = options.masks.expanduser().resolve()
        if not masks.exists():
            raise SettingsError(f"{masks} is not there; give the folder or the file that holds the masks, or none.")
        is_plain = options.layout == "auto" and options.table is None
        options = replace(options, masks=masks, layout="class_folders" if is_plain else options.layout)
    archive = open_archive(folder, layout=options.layout, table=options.table, columns=options.columns)
    return ingest(store, archive, role=role, options=options, on_progress=on_progress)


def ingest(
    store: Store,
    archive: Archive,
    *,
    role: Role,
    options: IngestOptions,
    on_progress: Callable[[int, int], None] | None = None,
) -> IngestReport:
    """Put every image of an archive into the catalogue; doing it again adds only what is new.

    Source images, and those of the pool where the options say so, get an automatic mask, checked against the
    instrument's own area where that is known, or a recorded reason for having none. Masks that come with the images are
    taken as given, later too for an image that has no usable label yet, or as a person's answers (`annotator`), for an
    image that no person answered. A file that cannot be read is reported, the
    rest goes on. A known image whose file is gone gets its new location. An archive that ends too early gives what is
    whole, and the report's `damage`.

    Bytes of the validation set are left out of source and pool, bytes of the source are left out of the pool.
    """
    report = IngestReport(role, layout=archive.layout, location=str(archive.location))
    wants_masks = options.masks is not None or archive.layout == "pairs" or (role == "pool" and options.automatic_masks)
    if options.annotator is not None and options.masks is None and archive.layout != "pairs":
        raise SettingsError(f"{options.annotator!r} made no masks: hand them in too (--masks), or name nobody.")
    answers = None if options.annotator is None else GivenAnswers.of(store, role, options.annotator)
    known = KnownImages(store, role, wants_masks=wants_masks, by_person=answers is not None)
    mask_file = None if options.masks is None or options.masks.is_dir() else open_mask_file(options.masks)
    samples = _sampled_masks(archive, options.masks) if mask_file is None else iter(())
    polarity = polarity_of(samples, max_pixels=options.max_pixels)
    task = _Task(store, archive, role, options, known, report, polarity, mask_file, answers)
    fresh: list[_NewImage] = []
    duplicates: list[tuple[str, str]] = []
    committed = held = 0
    ahead = Ahead(READ_AHEAD, weight=_bytes_in_memory, max_weight=MAX_AHEAD_BYTES)
    results = ordered_map(
        lambda record: (record, _read(task, record)), archive.records(), threads=4, ahead=ahead, name="ingest"
    )
    for done, (record, result) in enumerate(results, 1):
        if (new := _count(task, record, result, duplicates)) is not None:
            fresh.append(new)
        held += new.entry.size if new is not None and new.entry.uri is None else 0
        if len(fresh) >= min(max(CHUNK, committed // 10), MAX_ROWS) or held > MAX_HELD_BYTES:
            held = 0
            committed += len(fresh)
            _commit(task, fresh)
            fresh = []
        if on_progress is not None:
            on_progress(done, max(done, archive.images))
    known.finish()
    _commit(task, fresh)
    _finish(task, duplicates)
    return report


def _finish(task: _Task, duplicates: list[tuple[str, str]]) -> None:
    """Report what is known only at the archive's end."""
    report, archive = task.report, task.archive
    for problem in _duplicate_problems(task.store, duplicates):
        report.reject(problem)
    for name, reason in archive.problems:
        report.reject(Problem(_display_path(task, name), reason))
    report.unlisted += archive.unlisted
    report.ignored, report.damage = archive.ignored, archive.damage
    report.notes += archive.notes
    report.notes += [task.polarity.note] if task.polarity.note else []
    report.notes += [_NOTES[guess].format(count) for guess, count in sorted(task.guesses.items())]


def _sampled_masks(archive: Archive, folder: Path | None) -> Iterator[bytes]:
    """The bytes of a few masks from all over the folder or the archive; one that cannot be read is left out."""
    if folder is None:
        every: list[Entry] = archive.masks
    else:
        every = [entry for entry in Folder(folder).entries() if entry.is_image and entry.fault is None]
    for entry in every[:: max(1, len(every) // SAMPLED)][:SAMPLED]:
        try:
            yield entry.read()
        except (ArchiveError, OSError):
            continue  # reported where the mask is taken


def _bytes_in_memory(record: Record) -> int:
    """What a record's entry holds that was read in its archive's order."""
    entry = record.entry
    return entry.size if entry.uri is None and entry.fault is None else 0


def _count(
    task: _Task, record: Record, result: "_NewImage | Problem | str", duplicates: list[tuple[str, str]]
) -> "_NewImage | None":
    """Count a file in the report, and return it where something of it is to be written."""
    report, taxon = task.report, record.taxon
    if isinstance(result, _NewImage):
        task.guesses.update(result.guesses)
    report.seen.update([taxon] if taxon else [])
    image_id = result.image.image_id if isinstance(result, _NewImage) else result
    if isinstance(image_id, Problem):
        if image_id.image_id is None:
            report.reject(image_id)
            return None
        report.maskless.append(image_id)
        image_id = image_id.image_id
    earlier = task.known.register(image_id, record.entry.uri, lambda: _location(task.store, record.entry))
    if image_id in task.known.ids:
        report.known += 1
    elif isinstance(earlier, str):
        report.reject(
            Problem(_display_path(task, record.entry.name), f"same bytes as an image of the {earlier}; left out")
        )
    elif not earlier and (before := task.known.role_before(image_id)) is not None:
        report.changed_role[before] += 1
    elif earlier:
        duplicates.append((_display_path(task, record.entry.name), image_id))
    if not isinstance(earlier, str):
        report.taken.update([taxon] if taxon else [])
    return result if isinstance(result, _NewImage) and not earlier else None


def _duplicate_problems(store: Store, duplicates: list[tuple[str, str]]) -> list[Problem]:
    """Files with the bytes of another file of the same ingest, which the catalogue names by now."""
    rows = store.catalogue.rows_by_id({image_id for _, image_id in duplicates}) if duplicates else {}
    return [Problem(path, f"same bytes as {rows[image_id].uri}; left out") for path, image_id in duplicates]


def _read(task: _Task, record: Record) -> _NewImage | Problem | str:
    """Read one file: a new image, the problem it has, or the id of an image for which nothing is left to do."""
    entry = record.entry
    if record.fault is not None:
        return Problem(_display_path(task, entry.name), record.fault)
    image_id = None
    try:
        with task.reading.hold(0 if entry.uri is None else entry.size):
            data = entry.read()
            image_id = hashlib.sha256(data).hexdigest()
            if task.known.is_complete(image_id):
                return image_id
            opened = open_image(data, max_pixels=task.options.max_pixels)
            with task.decoding.hold(_decoding_bytes(task, record, opened)):
                return _new_image(task, record, image_id, opened)
    except (ImageReadError, MaskShapeError, ArchiveError, ObjectCorruptError, ObjectMissingError) as error:
        reason = str(error)
    except StoreError:
        raise  # a full disk is no fault of the file
    except (OSError, cv2.error) as error:
        reason = str(error)
    is_known = image_id is not None and image_id in task.known.ids
    return Problem(_display_path(task, entry.name), reason, image_id if is_known else None)


def _decoding_bytes(task: _Task, record: Record, opened: OpenedImage) -> int:
    """About what decoding an image, and making or reading its mask, takes at most. Raises ImageReadError."""
    header = opened.header
    pixels = header.width * header.height
    if len(opened.data) > BYTES_OF_A_PIXEL * pixels + SPARE_BYTES:
        raise ImageReadError(
            f"{header.format} {header.width} x {header.height} takes {len(opened.data)} bytes, more than its pixels "
            "can need; save it again."
        )
    makes_mask = task.role == "source" or record.masks is not None or task.options.masks is not None
    return pixels * (4 * (header.bits + 7) // 8 + (14 if makes_mask else 2))


def _new_image(task: _Task, record: Record, image_id: str, opened: OpenedImage) -> _NewImage:
    """Decode an image, with its label. Raises ImageReadError and MaskShapeError."""
    entry = record.entry
    grey, depth = opened.decode()
    if depth == 16 and grey.max() < LEAST_GREY:
        raise ImageReadError(
            f"All its 16-bit values are so small that it is black: its largest grey is {grey.max()} of 255. Save it "
            "with values that fill the 16 bits, or as 8 bits."
        )
    now = datetime.now(UTC)
    label, is_dark_field = _label(task, record, image_id, grey, now=now)
    guesses: dict[Guess, bool] = {"12 bits": depth == 12 and opened.header.bits == 16, "dark field": is_dark_field}
    image = ImageRow(
        image_id=image_id,
        uri=entry.uri or "",  # of a compressed tar: once its bytes are stored
        dataset=_printable(task.options.dataset or task.archive.name),
        role=task.role,
        taxon=None if record.taxon is None else _printable(record.taxon),
        width=grey.shape[1],
        height=grey.shape[0],
        external_id=record.external_id,
        instrument_area_px=record.area_px,
        added_at=now,
        phash=perceptual_hash(grey),
    )
    return _NewImage(image, label, entry, frozenset(guess for guess, was_made in guesses.items() if was_made))


def _location(store: Store, entry: Entry) -> str:
    """The address of the image's bytes; those of a compressed tar are put into the store."""
    if entry.uri is not None:
        return entry.uri
    return store_bundle(store.blobs, [(entry.name, entry.read())])[0]


def _with_locations(store: Store, fresh: list[_NewImage]) -> list[ImageRow]:
    """The rows, once the bytes of those that can be read only now are in the store."""
    to_store = [read for read in fresh if read.entry.uri is None]
    uris = store_bundle(store.blobs, [(read.entry.name, read.entry.read()) for read in to_store])
    locations = {read.image.image_id: uri for read, uri in zip(to_store, uris, strict=True)}
    return [replace(read.image, uri=locations.get(read.image.image_id, read.image.uri)) for read in fresh]


def _display_path(task: _Task, name: str) -> str:
    return _printable(f"{task.archive.location}/{name}")


def _printable(name: str) -> str:
    """A name with backslashes for bytes that are no UTF-8, so that it can be stored and shown."""
    return name.encode("utf-8", "backslashreplace").decode()


def _label(task: _Task, record: Record, image_id: str, grey: Grey, *, now: datetime) -> tuple[LabelRow | None, bool]:
    """The label an image comes with, handed in or automatic where wanted; and whether it was read as dark field."""
    if task.mask_file is not None:
        mask = task.mask_file.mask_of(record.entry.name, grey, image_id)
        return _given(task, image_id, mask, at=now), False
    if task.options.masks is not None:
        mask = given_mask(task.options.masks, Path(record.entry.name), grey, polarity=task.polarity)
        return _given(task, image_id, mask, at=now), False
    if record.masks is not None:
        mask = only_mask(record.masks(), grey=grey, polarity=task.polarity)
        return _given(task, image_id, mask, at=now), False
    if not task.options.makes_masks(task.role):
        return None, False
    outline = task.options.outline if task.role == "source" else "local contrast"
    made = automatic_mask(grey, instrument_area_px=record.area_px, outline=outline)
    if made.mask is not None:
        return _usable(task.store, image_id, "threshold", made.mask, at=now), made.dark_field
    unusable = LabelRow(
        image_id=image_id, round=0, origin="threshold", status="unusable", answered_at=now, reason=made.reason
    )
    return unusable, made.dark_field


def _given(task: _Task, image_id: str, mask: Mask, *, at: datetime) -> LabelRow:
    """The label of a mask that was handed in: given, or a person's answer where the options name the person."""
    label = _usable(task.store, image_id, "given", mask, at=at)
    return label if task.answers is None else task.answers.answer(label, is_empty=not mask.any())


def _usable(
    store: Store, image_id: str, origin: Literal["given", "threshold"], mask: Mask, *, at: datetime
) -> LabelRow:
    """A usable label that no person answered, its mask in the store."""
    return LabelRow(
        image_id=image_id,
        round=0,
        origin=origin,
        status="usable",
        answered_at=at,
        mask_sha=store.blobs.put(encode_mask(mask), "png"),
        pixel_sha=pixel_sha(mask),
    )


def _commit(task: _Task, fresh: list[_NewImage]) -> None:
    """Store bytes, labels, then catalogue rows, in this order: an image that is listed has everything it needs."""
    store, report = task.store, task.report
    images = _with_locations(store, fresh)
    labels = [read.label for read in fresh if read.label is not None]
    if labels and task.answers is None:
        store.labels.add(labels)
    report.added += store.catalogue.add(images)
    if task.answers is not None:
        store.add_answers(labels)  # which keeps copies of the images, so they have to be listed
    report.masks += sum(label.status == "usable" for label in labels)
    paths = {image.image_id: image.uri for image in images}
    report.maskless += [
        Problem(paths[label.image_id], label.reason or "") for label in labels if label.status != "usable"
    ]
    if moved := task.known.take_moved():
        report.moved += store.catalogue.move(moved)
    if found := task.known.take_found():
        include_again(store, found, "it was read by an ingest")
