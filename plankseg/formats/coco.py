"""COCO's JSON with run-length codes: every pixel of every mask, as pycocotools and CVAT read it.

One object an image, of one category. An empty mask is an image without an annotation. Nothing is lost; polygons, which
lose holes and half a pixel, are read but not written.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from pycocotools import mask as codes

from plankseg.errors import ImageReadError, MaskShapeError
from plankseg.formats.mask_record import MaskRecord
from plankseg.imaging.arrays import Mask

CATEGORY = {"id": 1, "name": "object", "supercategory": ""}


class CocoWriter:
    """Writes one JSON file, image by image: its memory does not grow with their number."""

    def __init__(self, images: IO[str], annotations: IO[str]) -> None:
        """Two open text files: the images' part, which becomes the whole, and one for the annotations until then."""
        self._images, self._annotations = images, annotations
        self._number = 0
        self._has_annotation = False
        images.write('{"info":{"description":"Masks by plankseg"},"licenses":[],"categories":')
        images.write(f'{json.dumps([CATEGORY])},"images":[')

    def add(self, record: MaskRecord) -> None:
        """Add one image with its mask."""
        separator = "\n" if self._number == 0 else ",\n"
        self._number += 1
        height, width = record.mask.shape
        image = {"id": self._number, "file_name": record.path, "width": width, "height": height}
        self._images.write(separator + json.dumps(image | facts_of(record)))
        if record.mask.any():
            annotation = {"id": self._number, "image_id": self._number, "category_id": 1, "iscrowd": 0}
            self._annotations.write(",\n" if self._has_annotation else "\n")
            self._has_annotation = True
            self._annotations.write(json.dumps(annotation | encode(record.mask)))

    def finish(self) -> None:
        """Put both parts together."""
        self._images.write('\n],"annotations":[')
        self._annotations.seek(0)
        while part := self._annotations.read(2**20):
            self._images.write(part)
        self._images.write("\n]}\n")


def facts_of(record: MaskRecord) -> dict[str, object]:
    """What is known of an image beside its mask, without what is not known."""
    names = ("image_id", "origin", "status", "taxon", "score", "model_id")
    values = {"sha256" if name == "image_id" else name: getattr(record, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def encode(mask: Mask) -> dict[str, object]:
    """A mask as COCO's compressed run-length code, with area in pixels and box as x, y, width, height."""
    code = codes.encode(np.asfortranarray(mask.view(np.uint8)))
    segmentation = {"size": [int(size) for size in code["size"]], "counts": code["counts"].decode("ascii")}
    box = [float(value) for value in codes.toBbox(code)]
    return {"segmentation": segmentation, "area": int(codes.area(code)), "bbox": box}


@dataclass(frozen=True)
class AnnotatedImage:
    """An image of a COCO file: its name, its shape (rows, columns), and the segmentations of its annotations."""

    name: str
    shape: tuple[int, int]
    segmentations: list[object]


def read_annotations(path: Path) -> list[AnnotatedImage]:
    """The images of a COCO file, in its order. Raises ImageReadError for a file that is not COCO's."""
    try:
        content = json.loads(path.read_bytes())
        images = {
            image["id"]: AnnotatedImage(str(image["file_name"]), (int(image["height"]), int(image["width"])), [])
            for image in content["images"]
        }
        for annotation in content["annotations"]:
            images[annotation["image_id"]].segmentations.append(annotation["segmentation"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ImageReadError(f"{path} cannot be read as COCO's JSON: {error!r}. Export it again.") from error
    return list(images.values())


def read_masks(path: Path) -> Iterator[tuple[str, Mask]]:
    """The mask of each image of a COCO file, by file name: the union of its annotations; empty without any.

    Raises ImageReadError for a file that is not COCO's, MaskShapeError for an annotation of another size.
    """
    for image in read_annotations(path):
        mask = np.zeros(image.shape, dtype=bool)
        for segmentation in image.segmentations:
            mask |= decode(segmentation, image.shape, name=f"{path}: {image.name}")
        yield image.name, mask


def decode(segmentation: object, shape: tuple[int, int], *, name: str) -> Mask:
    """The mask in an annotation: a run-length code, compressed or not, or polygons. Raises as `read_masks`."""
    height, width = shape
    try:
        if isinstance(segmentation, Mapping):
            size = tuple(int(value) for value in segmentation["size"])
            if size != shape:
                raise MaskShapeError(
                    f"{name}: the annotation is {size[0]} x {size[1]} (rows x columns), its image {height} x {width}."
                )
            counts = segmentation["counts"]
            plain = isinstance(counts, list)
            if plain and sum(counts) != height * width:
                raise ImageReadError(f"{name}: its run lengths sum to {sum(counts)}, not {height * width} pixels.")
            code = codes.frPyObjects(dict(segmentation), height, width) if plain else dict(segmentation)
        else:
            if not _are_polygons(segmentation):
                raise ImageReadError(
                    f"{name}: its segmentation cannot be read: it is neither a run-length code nor polygons of three "
                    "corners at least; export it again."
                )
            code = codes.merge(codes.frPyObjects(segmentation, height, width))
        decoded: Mask = codes.decode(code).astype(bool)
    except (ValueError, KeyError, TypeError, IndexError, MemoryError) as error:
        if isinstance(error, ImageReadError | MaskShapeError):
            raise
        raise ImageReadError(f"{name}: its segmentation cannot be read ({error!r}); export it again.") from error
    return decoded


def _are_polygons(segmentation: object) -> bool:
    """True for a list of polygons, each a list of x, y, x, y, ...: pycocotools takes shorter ones for boxes."""
    return (
        isinstance(segmentation, list)
        and len(segmentation) > 0
        and all(isinstance(corners, list) and len(corners) >= 6 and len(corners) % 2 == 0 for corners in segmentation)
        and all(isinstance(value, int | float) for corners in segmentation for value in corners)
    )
