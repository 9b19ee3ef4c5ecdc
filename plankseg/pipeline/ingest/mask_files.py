"""Masks handed in as one file of another program: JSON of COCO or Label Studio, a zip of ImageJ's ROIs or mask images.

The blobs of ifcb-features (`..._blobs_v4.zip`) are such a zip: a PNG for each image, called by its IFCB id.

An image's masks are found by its relative path, else by the end of that path where only one name in the file has it,
with or without suffix. Several instances of one image are one mask: their union.
"""

import codecs
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from plankseg.archives.containers.entries import Entry
from plankseg.archives.containers.zipped import Zip
from plankseg.errors import ArchiveError, ImageReadError, MaskShapeError, SettingsError, StoreError
from plankseg.formats.label_studio_answers import AnsweredTask, mask_of_regions, read_answered_tasks
from plankseg.imaging.arrays import Grey, Mask
from plankseg.pipeline.ingest.given_masks import mask_in

Decode = Callable[[tuple[int, int]], Mask]
"""Gives one instance as a mask of an image's shape (rows, columns), or raises ImageReadError or MaskShapeError."""


@dataclass(frozen=True)
class MaskFile:
    """The masks in a file, by the name that it gives their image; `sizes` are those that it says images have."""

    path: Path
    masks: Mapping[str, list[Decode]]
    sizes: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    _by_end: Mapping[str, str | None] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        ends: dict[str, str | None] = {}
        for name in self.masks:
            for end in _ends(name):
                ends[end] = name if ends.get(end, name) == name else None  # None: several names end so
        object.__setattr__(self, "_by_end", ends)

    def mask_of(self, name: str, grey: Grey, image_id: str | None = None) -> Mask:
        """The mask of an image: the union of its instances; empty where the file lists the image without any.

        A file that names images by their id, as tasks of plankseg do, is asked for that first.

        Raises ImageReadError where it does not list it or cannot be read, MaskShapeError for another size.
        """
        key = image_id if image_id in self.masks else None
        key = key or next((found for end in _ends(name) if (found := self._by_end.get(end)) is not None), None)
        if key is None:
            raise ImageReadError(
                f"No mask for {name} in {self.path}, or several images of it have this name; add it or take it out."
            )
        shape = (grey.shape[0], grey.shape[1])
        if self.sizes.get(key, shape) != shape:
            height, width = self.sizes[key]
            raise MaskShapeError(
                f"{self.path} says that {key} is {width} x {height}, but it is {shape[1]} x {shape[0]}; left out."
            )
        mask = np.zeros(shape, dtype=bool)
        for decode in self.masks[key]:
            mask |= decode(shape)
        return mask


def _ends(name: str) -> list[str]:
    """A name and its ends, the longest first, each with its suffix and without: what a file may call an image."""
    parts = name.replace("\\", "/").split("/")
    whole = ["/".join(parts[first:]) for first in range(len(parts))]
    return [end for text in whole for end in dict.fromkeys((text, text.rpartition(".")[0] or text))]


def open_mask_file(path: Path) -> MaskFile:
    """The masks in a `.json` of COCO or Label Studio, or a `.zip` of ROIs or mask images.

    Raises SettingsError for another file, ImageReadError for one that cannot be read.
    """
    suffix = path.suffix.lower()
    if suffix == ".json":
        return _label_studio(path) if _is_list(path) else _coco(path)
    if suffix == ".zip":
        images = _mask_images(path)
        return _rois(path) if images is None else images
    raise SettingsError(
        f"{path} is no folder of masks, no .json of COCO or Label Studio and no .zip of ImageJ's ROIs or of mask "
        "images; give one of these."
    )


def _coco(path: Path) -> MaskFile:
    from plankseg.formats import coco  # its packages are an extra

    content = coco.read_annotations(path)

    def decoder(segmentation: object, name: str) -> Decode:
        return lambda shape: coco.decode(segmentation, shape, name=f"{path}: {name}")

    masks = {
        image.name: [decoder(segmentation, image.name) for segmentation in image.segmentations] for image in content
    }
    return MaskFile(path, masks, {image.name: image.shape for image in content})


def _is_list(path: Path) -> bool:
    """Whether a JSON file holds a list, as Label Studio's export does, and COCO's JSON never."""
    with path.open("rb") as file:
        return file.read(64).removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"[")


def _label_studio(path: Path) -> MaskFile:
    def decoder(answered: AnsweredTask) -> Decode:
        return lambda shape: mask_of_regions(answered.regions, shape, name=f"{path}: {answered.name}")

    return MaskFile(path, {task.image_id or task.name: [decoder(task)] for task in read_answered_tasks(path)})


def _mask_images(path: Path) -> MaskFile | None:
    """The mask images in a zip; None where it holds none. Raises ImageReadError."""
    try:
        entries = {entry.name: entry for entry in Zip(path).entries() if entry.is_image}
    except ArchiveError as error:
        raise ImageReadError(str(error)) from error

    def decoder(entry: Entry) -> Decode:
        def decode(shape: tuple[int, int]) -> Mask:
            try:
                data = entry.read()
            except (ArchiveError, StoreError) as error:
                raise ImageReadError(f"Mask {entry.name} in {path}: {error}") from error
            return mask_in(data, name=f"{path}: {entry.name}", grey=np.zeros(shape, np.uint8))

        return decode

    return MaskFile(path, {name: [decoder(entry)] for name, entry in entries.items()}) if entries else None


def _rois(path: Path) -> MaskFile:
    from plankseg.formats import imagej_rois  # its package is an extra

    masks: dict[str, list[Decode]] = {}
    for name, roi in imagej_rois.read_rois(path):
        masks.setdefault(name, []).append(partial(imagej_rois.decode, roi, name=f"{path}: {name}"))
    return MaskFile(path, masks)
