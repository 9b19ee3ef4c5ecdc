"""How do files become catalogue rows, and clean images automatic masks?"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Literal

from plankseg.errors import ImageReadError, MaskShapeError, SettingsError
from plankseg.imaging.arrays import Grey, Mask
from plankseg.imaging.likeness import perceptual_hash
from plankseg.imaging.masks import encode_mask, pixel_sha
from plankseg.imaging.reading import read_grey
from plankseg.imaging.threshold import automatic_mask
from plankseg.rounds.given_masks import SUFFIXES, given_mask
from plankseg.rounds.known_images import KnownImages
from plankseg.storage.catalogue import ImageRow
from plankseg.storage.catalogue import Role as Role
from plankseg.storage.labels import LabelRow
from plankseg.storage.store import Store

CHUNK = 500  # rows per commit: a kill loses at most the work on these


@dataclass(frozen=True)
class Problem:
    """A file that was left out, or an image without a mask, and why; `image_id` where the catalogue knows it."""

    path: str
    reason: str
    image_id: str | None = None


@dataclass
class IngestReport:
    """What an ingest did. `added` counts new images, `known` those that were there already.

    `moved` are known images whose recorded file was gone and that were found at a new place.
    """

    role: Role
    added: int = 0
    known: int = 0
    moved: int = 0
    masks: int = 0
    ignored: int = 0
    rejected: list[Problem] = field(default_factory=list)
    maskless: list[Problem] = field(default_factory=list)

    def summary(self) -> str:
        """One line for a log."""
        moved = f" ({self.moved} at a new place)" if self.moved else ""
        return (
            f"{self.role}: {self.added} new images, {self.known} known{moved}, {self.masks} masks, "
            f"{len(self.maskless)} without, {len(self.rejected)} files rejected, {self.ignored} ignored"
        )


@dataclass(frozen=True)
class _Read:
    """One readable file: its catalogue row and, where its role asks for one, its label and mask."""

    image: ImageRow
    label: LabelRow | None
    mask: Mask | None


def ingest_folder(
    store: Store,
    folder: Path,
    *,
    role: Role,
    dataset: str | None = None,
    masks: Path | None = None,
    max_pixels: int = 64_000_000,
    on_progress: Callable[[int, int], None] | None = None,
) -> IngestReport:
    """Put every image below a folder into the catalogue; doing it again adds only what is new.

    Source images get an automatic mask, or a recorded reason for having none. With `masks`, a folder of pictures of
    the same relative names, these masks are taken as given, later too for an image that has no usable label yet. A
    file that cannot be read is reported, the rest goes on. A known image whose file is gone gets its new place.

    Bytes of the validation set are left out of source and pool, bytes of the source are left out of the pool.

    Raises:
        SettingsError: no such folder, not one image file in it, or no such folder of masks.
    """
    folder = folder.expanduser().resolve()
    if not folder.is_dir():
        raise SettingsError(f"{folder} is not a folder; give the folder that holds the images of the {role}.")
    if masks is not None:
        masks = masks.expanduser().resolve()
        if not masks.is_dir():
            raise SettingsError(f"{masks} is not a folder; give the folder that holds the masks, or none.")
    report = IngestReport(role)
    files = _image_files(folder, report)
    if not files:
        raise SettingsError(f"{folder} has no image files ({', '.join(sorted(SUFFIXES))}); is it the right folder?")
    known = KnownImages(store, role, wants_masks=masks is not None)

    def read(path: Path) -> "_Read | Problem | str":
        return _read(path, folder=folder, role=role, dataset=dataset or folder.name, masks=masks,
                     max_pixels=max_pixels, known=known)  # fmt: skip

    done = 0
    with ThreadPoolExecutor(max_workers=4) as threads:
        for chunk in _chunks(files, CHUNK):
            fresh: list[_Read] = []
            for path, result in zip(chunk, threads.map(read, chunk), strict=True):
                done += 1
                if (new := _sort(path, result, known=known, report=report)) is not None:
                    fresh.append(new)
                if on_progress is not None:
                    on_progress(done, len(files))
            _commit(store, fresh, report)
            report.moved += store.catalogue.move(known.take_moved())
    return report


def _sort(path: Path, result: "_Read | Problem | str", *, known: KnownImages, report: IngestReport) -> "_Read | None":
    """Count a file, and give it back where something of it is to be written."""
    image_id = result.image.image_id if isinstance(result, _Read) else result
    if isinstance(image_id, Problem):
        if image_id.image_id is None:
            report.rejected.append(image_id)
            return None
        report.maskless.append(image_id)
        image_id = image_id.image_id
    before = known.meet(image_id, path)
    if image_id in known.ids:
        report.known += 1
    elif before is not None:
        report.rejected.append(Problem(str(path), f"same bytes as {before}; left out"))
    return result if isinstance(result, _Read) and before is None else None


def _image_files(folder: Path, report: IngestReport) -> list[Path]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    images = [path for path in files if path.suffix.lower() in SUFFIXES]
    report.ignored = len(files) - len(images)
    return images


def _chunks(files: Iterable[Path], size: int) -> Iterator[list[Path]]:
    iterator = iter(files)
    while chunk := list(islice(iterator, size)):
        yield chunk


def _read(
    path: Path, *, folder: Path, role: Role, dataset: str, masks: Path | None, max_pixels: int, known: KnownImages
) -> _Read | Problem | str:
    """Read one file: what it is worth, why it is rejected, or the id of an image for which nothing is left to do."""
    if not _is_utf8(path):
        return Problem(_printable(path), "its name, or a folder's above it, is not valid UTF-8; rename it")
    image_id = None
    try:
        data = path.read_bytes()
        image_id = hashlib.sha256(data).hexdigest()
        if image_id in known.settled:
            return image_id
        grey = read_grey(data, max_pixels=max_pixels)
        now = datetime.now(UTC)
        label, mask = _label(path, image_id, grey, folder=folder, role=role, masks=masks, now=now)
    except (ImageReadError, MaskShapeError, OSError) as error:
        return Problem(str(path), str(error), image_id if image_id in known.ids else None)
    image = ImageRow(
        image_id=image_id,
        uri=path.as_uri(),
        dataset=dataset,
        role=role,
        taxon=path.parent.name if path.parent != folder else None,
        width=grey.shape[1],
        height=grey.shape[0],
        external_id=path.stem,
        added_at=now,
        phash=perceptual_hash(grey),
    )
    return _Read(image, label, mask)


def _is_utf8(path: Path) -> bool:
    """False where a name has bytes of another encoding: Python keeps them as surrogates, which no table takes."""
    return not any("\ud800" <= character <= "\udfff" for character in str(path))


def _printable(path: Path) -> str:
    return str(path).encode("utf-8", "backslashreplace").decode()


def _label(
    path: Path, image_id: str, grey: Grey, *, folder: Path, role: Role, masks: Path | None, now: datetime
) -> tuple[LabelRow | None, Mask | None]:
    """The label an image comes with: handed in beside it, or made from a clean image; the pool has none."""
    if masks is not None:
        given = given_mask(masks, path.relative_to(folder), grey)
        return _row(image_id, "given", mask=given, reason=None, at=now), given
    if role != "source":
        return None, None
    made = automatic_mask(grey)
    return _row(image_id, "threshold", mask=made.mask, reason=made.reason, at=now), made.mask


def _row(
    image_id: str, origin: Literal["given", "threshold"], *, mask: Mask | None, reason: str | None, at: datetime
) -> LabelRow:
    """A label that no person answered: usable if there is a mask, else unusable for the recorded reason."""
    return LabelRow(
        image_id=image_id,
        round=0,
        origin=origin,
        status="unusable" if mask is None else "usable",
        answered_at=at,
        mask_sha=None if mask is None else hashlib.sha256(encode_mask(mask)).hexdigest(),
        pixel_sha=None if mask is None else pixel_sha(mask),
        reason=reason,
    )


def _commit(store: Store, fresh: list[_Read], report: IngestReport) -> None:
    """Write blobs first, then labels, then the catalogue: an image that is listed has everything it needs."""
    for read in fresh:
        if read.mask is not None:
            store.blobs.put(encode_mask(read.mask), "png")
    labels = [read.label for read in fresh if read.label is not None]
    if labels:
        store.labels.add(labels)
    report.added += store.catalogue.add([read.image for read in fresh])
    report.masks += sum(label.status == "usable" for label in labels)
    paths = {read.image.image_id: read.image.uri for read in fresh}
    report.maskless += [
        Problem(paths[label.image_id], label.reason or "") for label in labels if label.status != "usable"
    ]
