"""Names of an archive's images: how often each occurs, and which file is another one's mask."""

from array import array
from collections.abc import Iterator
from typing import Literal

import numpy as np

from plankseg.archives.metadata_tables import hash_of

_MARKS = ("cp_masks", "masks", "mask", "segmentation", "seg", "labels", "label", "gt")
_MASK_FOLDERS = frozenset(
    [
        "labels",
        "label",
        "gt",
        "groundtruth",
        "ground_truth",
        "ground-truth",
        "annotations",
        "segmentations",
        "segmentation",
    ]
)
_IMAGE_FOLDERS = frozenset(["images", "image", "imgs", "img", "vignettes"])
Part = Literal["own", "stem", "in_folder", "in_top", "pair"]
PARTS: tuple[Part, ...] = ("own", "stem", "in_folder", "in_top", "pair")


class ImageNames:
    """The names of all images that are no masks by their name, as hashes: 40 bytes an image."""

    def __init__(self) -> None:
        self._hashes: dict[Part, array[int]] = {part: array("Q") for part in PARTS}
        self._sorted: dict[Part, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self._hashes["own"])

    def add(self, name: str) -> None:
        """Take the name of an image into account."""
        for part, key in _keys(name):
            self._hashes[part].append(hash_of(key))

    def hashes(self, part: Part) -> np.ndarray:
        """The hashes of a part of all names, ascending."""
        if part not in self._sorted:
            self._sorted[part] = (
                np.sort(np.frombuffer(self._hashes[part], np.uint64)) if len(self) else np.zeros(0, np.uint64)
            )
        return self._sorted[part]

    def count(self, part: Part, key: str) -> int:
        """How many images have this name, stem, name in a folder of this name, name below a top folder, or pair key."""
        hashes, wanted = self.hashes(part), np.uint64(hash_of(key))
        return int(np.searchsorted(hashes, wanted, "right") - np.searchsorted(hashes, wanted, "left"))


def _keys(name: str) -> Iterator[tuple[Part, str]]:
    *folders, own = name.split("/")
    stem = own.rpartition(".")[0] or own
    yield "own", own
    yield "stem", stem
    yield "in_folder", f"{folders[-1]}/{stem}" if folders else f"/{stem}"
    yield "in_top", f"{folders[0]}/{stem}" if folders else f"/{stem}"
    yield "pair", image_key(name)


def mask_key(name: str) -> str | None:
    """What a mask and its image have in common, or None for a file that is no mask by its name."""
    *folders, file = name.split("/")
    stem = file.rpartition(".")[0]
    for index, folder in enumerate(folders):
        if folder.lower().startswith("mask") or folder.lower() in _MASK_FOLDERS:
            return "/".join([*folders[:index], *folders[index + 1 :], _without_mark(stem)])
    if stem != _without_mark(stem):
        return "/".join([*folders, _without_mark(stem)])
    return None


def image_key(name: str) -> str:
    """The same for an image: its path without suffix, and without the folder that says these are images."""
    *folders, file = name.split("/")
    for index, folder in enumerate(folders):
        if folder.lower() in _IMAGE_FOLDERS:
            folders = [*folders[:index], *folders[index + 1 :]]
            break
    return "/".join([*folders, file.rpartition(".")[0]])


def _without_mark(stem: str) -> str:
    lower = stem.lower()
    for mark in _MARKS:
        if lower.endswith((f"_{mark}", f"-{mark}", f".{mark}")) and len(stem) > len(mark) + 1:
            return stem[: -len(mark) - 1]
    return stem
