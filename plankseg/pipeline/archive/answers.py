"""People's answers in what leaves the store: an image that a person answered leaves with that person's mask.

A row says in `origin` who made its mask: `model`, or how a person's answer came about; and in `status` whether it is to
be used: `usable`, or what a person said of the image, `skipped` or `unusable`, which then keeps the model's mask.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from plankseg.errors import MaskShapeError
from plankseg.imaging.arrays import Mask
from plankseg.imaging.masks import decode_mask
from plankseg.storage.store import Store
from plankseg.storage.tables.labels import LabelRow

MODEL, USABLE = "model", "usable"


@dataclass(frozen=True)
class Answer:
    """What counts for one image. `mask_sha` and `mask` are a person's; None: the model's counts."""

    origin: str = MODEL
    status: str = USABLE
    mask_sha: str | None = None
    mask: Mask | None = None


@dataclass(frozen=True)
class Answers:
    """The answers of people that count, by image; empty where there is no store."""

    labels: Mapping[str, LabelRow] = field(default_factory=dict)
    load_mask: Callable[[str], bytes] = lambda _: b""  # never called where there are no labels

    @classmethod
    def of(cls, store: Store) -> "Answers":
        """Those of a store, read once."""
        labels = {row.image_id: row for row in store.labels.current() if row.by_person}
        return cls(labels, lambda sha: store.blobs.get(sha, "png"))

    def of_image(self, image_id: str, shape: tuple[int, int] | None = None) -> Answer:
        """What counts for an image. `shape` (rows, columns) is what a person's mask must have.

        An answer that is still to be repaired (`quarantined`) marks the row and leaves the model's mask. Raises
        MaskShapeError, ObjectMissingError, ObjectCorruptError.
        """
        label = self.labels.get(image_id)
        if label is None:
            return Answer()
        if label.status != USABLE or label.mask_sha is None:
            return Answer(status=label.status)
        mask = decode_mask(self.load_mask(label.mask_sha))
        if shape is not None and mask.shape != shape:
            raise MaskShapeError(
                f"The mask that a person made for image {image_id[:12]} is {mask.shape[0]} x {mask.shape[1]} (rows x "
                f"columns), the image is {shape[0]} x {shape[1]}. Answer it again in Label Studio."
            )
        return Answer(label.origin, USABLE, label.mask_sha, mask)
