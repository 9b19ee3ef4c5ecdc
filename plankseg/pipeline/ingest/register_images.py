"""How do files become catalogue rows, and clean images automatic masks?

Every image is decoded whole: its hash tells what it is, only its pixels tell that it can be read. That costs less than
a third of a millisecond for a vignette, and keeps the promise that what is listed can be learnt from.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from plankseg.archives.containers.entries import Entry
from plankseg.archives.layouts import Record
from plankseg.archives.metadata_tables import Meaning
from plankseg.archives.open_archive import Archive, Choice, open_archive
from plankseg.errors import ArchiveError, ImageReadError, MaskShapeError, SettingsError, StoreError
from plankseg.imaging.arrays import Grey, Mask
from plankseg.imaging.masks import encode_mask, pixel_sha
from plankseg.imaging.perceptual_hash import perceptual_hash
from plankseg.imaging.reading import read_grey
from plankseg.imaging.threshold import automatic_mask
from plankseg.pipeline.ingest.given_masks import given_mask, mask_in
from plankseg.pipeline.ingest.ingest_report import IngestReport as IngestReport
from plankseg.pipeline.ingest.ingest_report import Problem as Problem
from plankseg.pipeline.ingest.known_images import KnownImages
from plankseg.storage.objects.tar_bundle import store_bundle
from plankseg.storage.store import Store
from plankseg.storage.tables.catalogue import ImageRow
from plankseg.storage.tables.catalogue import Role as Role
from plankseg.storage.tables.labels import LabelRow

CHUNK = 500  # rows per commit at the beginning: a kill loses at most the work on these
MOST_ROWS = 5_000  # per commit later: each one looks at all rows before it
MOST_HELD = 64 * 2**20  # bytes of images of a compressed tar, until they are kept
AHEAD = 32  # files that are read before their turn


@dataclass(frozen=True)
class _Read:
    """One readable file: its catalogue row and, where its role asks for one, its label; its mask is in the store.

    The entry's bytes are still to be kept where it can be read only once.
    """

    image: ImageRow
    label: LabelRow | None
    entry: Entry


@dataclass(frozen=True)
class _Task:
    """What is the same for all files of one ingest."""

    store: Store
    archive: Archive
    role: Role
    dataset: str
    masks: Path | None
    max_pixels: int
    known: KnownImages
    report: IngestReport


def ingest_folder(
    store: Store,
    folder: Path | str,
    *,
    role: Role,
    dataset: str | None = None,
    masks: Path | None = None,
    layout: Choice = "auto",
    table: Path | None = None,
    columns: dict[Meaning, str] | None = None,
    max_pixels: int = 64_000_000,
    on_progress: Callable[[int, int], None] | None = None,
) -> IngestReport:
    """Open a folder, tar or zip and put its images into the catalogue, as `ingest`.

    With `masks`, a folder of pictures of the same relative names, these masks are taken as given.

    Raises:
        SettingsError: nothing there, not one image file in it, or no such folder of masks.
        ArchiveError: an archive, or the table that was handed in, cannot be read at all.
    """
    if masks is not None:
        masks = masks.expanduser().resolve()
        if not masks.is_dir():
            raise SettingsError(f"{masks} is not a folder; give the folder that holds the masks, or none.")
        layout = "class_folders" if layout == "auto" and table is None else layout
    archive = open_archive(folder, layout=layout, table=table, columns=columns)
    return ingest(store, archive, role=role, dataset=dataset, masks=masks, max_pixels=max_pixels,
                  on_progress=on_progress)  # fmt: skip


def ingest(
    store: Store,
    archive: Archive,
    *,
    role: Role,
    dataset: str | None = None,
    masks: Path | None = None,
    max_pixels: int = 64_000_000,
    on_progress: Callable[[int, int], None] | None = None,
) -> IngestReport:
    """Put every image of an archive into the catalogue; doing it again adds only what is new.

    Source images get an automatic mask, checked against the instrument's own area where that is known, or a recorded
    reason for having none. Masks that come with the images are taken as given, later too for an image that has no
    usable label yet. A file that cannot be read is reported, the rest goes on. A known image whose file is gone gets
    its new place. An archive that ends too early gives what is whole, and the report's `damage`.

    Bytes of the validation set are left out of source and pool, bytes of the source are left out of the pool.
    """
    report = IngestReport(role, layout=archive.layout)
    known = KnownImages(store, role, wants_masks=masks is not None or archive.layout == "pairs")
    task = _Task(store, archive, role, dataset or archive.name, masks, max_pixels, known, report)
    fresh: list[_Read] = []
    twins: list[tuple[str, str]] = []
    committed = held = 0
    with ThreadPoolExecutor(max_workers=4) as threads:
        for done, (record, result) in enumerate(_in_turn(threads, lambda r: _read(task, r), archive.records()), 1):
            if (new := _sort(task, record, result, twins)) is not None:
                fresh.append(new)
            held += new.entry.size if new is not None and new.entry.uri is None else 0
            if len(fresh) >= min(max(CHUNK, committed // 10), max(CHUNK, MOST_ROWS)) or held > MOST_HELD:
                held = 0
                committed += len(fresh)
                _commit(task, fresh)
                fresh = []
            if on_progress is not None:
                on_progress(done, max(done, archive.images))
    _commit(task, fresh)
    report.rejected += _named_twins(store, twins)
    report.rejected += [Problem(f"{archive.place}/{name}", reason) for name, reason in archive.problems]
    report.ignored, report.damage = archive.ignored, archive.damage
    return report


def _in_turn(
    threads: ThreadPoolExecutor, work: "Callable[[Record], _Read | Problem | str]", records: Iterable[Record]
) -> "Iterator[tuple[Record, _Read | Problem | str]]":
    """The results in the records' order, a few of them worked on ahead."""
    waiting: deque[tuple[Record, Future[_Read | Problem | str]]] = deque()
    for record in records:
        waiting.append((record, threads.submit(work, record)))
        if len(waiting) >= AHEAD:
            first, future = waiting.popleft()
            yield first, future.result()
    while waiting:
        first, future = waiting.popleft()
        yield first, future.result()


def _sort(task: _Task, record: Record, result: "_Read | Problem | str", twins: list[tuple[str, str]]) -> "_Read | None":
    """Count a file, and give it back where something of it is to be written."""
    report, taxon = task.report, record.taxon
    report.met.update([taxon] if taxon else [])
    image_id = result.image.image_id if isinstance(result, _Read) else result
    if isinstance(image_id, Problem):
        if image_id.image_id is None:
            report.rejected.append(image_id)
            return None
        report.maskless.append(image_id)
        image_id = image_id.image_id
    before = task.known.register(image_id, lambda: _place(task.store, record.entry))
    if image_id in task.known.ids:
        report.known += 1
    elif isinstance(before, str):
        report.rejected.append(Problem(_shown(task, record.entry), f"same bytes as an image of the {before}; left out"))
    elif before:
        twins.append((_shown(task, record.entry), image_id))
    if not isinstance(before, str):
        report.taken.update([taxon] if taxon else [])
    return result if isinstance(result, _Read) and not before else None


def _named_twins(store: Store, twins: list[tuple[str, str]]) -> list[Problem]:
    """Files with the bytes of another file of the same ingest, which the catalogue names by now."""
    rows = store.catalogue.rows_by_id({image_id for _, image_id in twins}) if twins else {}
    return [Problem(path, f"same bytes as {rows[image_id].uri}; left out") for path, image_id in twins]


def _read(task: _Task, record: Record) -> _Read | Problem | str:
    """Read one file: what it is worth, why it is rejected, or the id of an image for which nothing is left to do."""
    entry, image_id = record.entry, None
    if record.fault is not None:
        return Problem(_shown(task, entry), record.fault)
    try:
        data = entry.read()
        image_id = hashlib.sha256(data).hexdigest()
        if task.known.is_complete(image_id):
            return image_id
        grey = read_grey(data, max_pixels=task.max_pixels)
        now = datetime.now(UTC)
        label = _label(task, record, image_id, grey, now=now)
    except StoreError:
        raise  # a full disk is no fault of the file
    except (ImageReadError, MaskShapeError, ArchiveError, OSError) as error:
        return Problem(_shown(task, entry), str(error), image_id if image_id and image_id in task.known.ids else None)
    image = ImageRow(
        image_id=image_id,
        uri=entry.uri or "",  # of a compressed tar: when its bytes are kept
        dataset=task.dataset,
        role=task.role,
        taxon=record.taxon,
        width=grey.shape[1],
        height=grey.shape[0],
        external_id=record.external_id,
        instrument_area_px=record.area_px,
        added_at=now,
        phash=perceptual_hash(grey),
    )
    return _Read(image, label, entry)


def _place(store: Store, entry: Entry) -> str:
    """Where the image's bytes can be had from now on; those of a compressed tar are kept in the store."""
    if entry.uri is not None:
        return entry.uri
    return store_bundle(store.blobs, [(entry.name, entry.read())])[0]


def _placed(store: Store, fresh: list[_Read]) -> list[ImageRow]:
    """The rows, once the bytes of those that can be read only now are kept in the store."""
    to_keep = [read for read in fresh if read.entry.uri is None]
    kept = store_bundle(store.blobs, [(read.entry.name, read.entry.read()) for read in to_keep])
    places = {read.image.image_id: uri for read, uri in zip(to_keep, kept, strict=True)}
    return [replace(read.image, uri=places.get(read.image.image_id, read.image.uri)) for read in fresh]


def _shown(task: _Task, entry: Entry) -> str:
    return f"{task.archive.place}/{entry.name}".encode("utf-8", "backslashreplace").decode()


def _label(task: _Task, record: Record, image_id: str, grey: Grey, *, now: datetime) -> LabelRow | None:
    """The label an image comes with: handed in beside it, or made from a clean image; the pool has none."""
    if task.masks is not None:
        given = given_mask(task.masks, Path(record.entry.name), grey)
        return _row(task.store, image_id, "given", mask=given, reason=None, at=now)
    if record.mask is not None:
        name, data = record.mask()
        given = mask_in(data, name=name, grey=grey)
        return _row(task.store, image_id, "given", mask=given, reason=None, at=now)
    if task.role != "source":
        return None
    made = automatic_mask(grey, instrument_area_px=record.area_px)
    return _row(task.store, image_id, "threshold", mask=made.mask, reason=made.reason, at=now)


def _row(
    store: Store,
    image_id: str,
    origin: Literal["given", "threshold"],
    *,
    mask: Mask | None,
    reason: str | None,
    at: datetime,
) -> LabelRow:
    """A label that no person answered, its mask in the store: usable if there is one, else unusable for a reason."""
    return LabelRow(
        image_id=image_id,
        round=0,
        origin=origin,
        status="unusable" if mask is None else "usable",
        answered_at=at,
        mask_sha=None if mask is None else store.blobs.put(encode_mask(mask), "png"),
        pixel_sha=None if mask is None else pixel_sha(mask),
        reason=reason,
    )


def _commit(task: _Task, fresh: list[_Read]) -> None:
    """Bytes, labels, then the catalogue, masks being there: an image that is listed has everything it needs."""
    store, report = task.store, task.report
    images = _placed(store, fresh)
    labels = [read.label for read in fresh if read.label is not None]
    if labels:
        store.labels.add(labels)
    report.added += store.catalogue.add(images)
    report.masks += sum(label.status == "usable" for label in labels)
    paths = {image.image_id: image.uri for image in images}
    report.maskless += [
        Problem(paths[label.image_id], label.reason or "") for label in labels if label.status != "usable"
    ]
    if moved := task.known.take_moved():
        report.moved += store.catalogue.move(moved)
