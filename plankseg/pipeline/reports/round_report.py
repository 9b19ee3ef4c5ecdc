"""Pictures of a round: the gallery of its proposal, and its images with pre-masks and answers."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from plankseg.errors import ImageReadError, StoreError
from plankseg.imaging.arrays import Grey, Mask, Rgb
from plankseg.imaging.masks import decode_mask
from plankseg.imaging.pictures.overlay import (
    CORRECTION,
    PAPER,
    GalleryRow,
    data_uri,
    fit_under,
    gallery,
    heatmap,
    outline,
)
from plankseg.pipeline.archive.image_paths import paths_of_ids
from plankseg.storage.store import Store
from plankseg.storage.tables.labels import LabelRow
from plankseg.storage.tables.proposals import ProposalRow

if TYPE_CHECKING:
    from plankseg.pipeline.acquisition.propose import Proposal  # loads torch and networks, which the page needs none of

ARTIFACT_BYTES = 140_000  # base64 adds a third; artifacts should stay under 200 kB, for they lie in Prefect's database
LEAST_SHOWN = 1e-6  # of an uncertainty: smaller ones are all alike to a person
LOST = np.full((60, 60), 128, dtype=np.uint8)  # the picture of an image that cannot be read
log = logging.getLogger(__name__)


def proposal_gallery(store: Store, proposal: "Proposal") -> str:
    """The round's images as a data URI: image, uncertainty, pre-mask outline, and the score as caption."""
    from plankseg.pipeline.acquisition.propose import premask

    top = max(float(prediction.uncertainty_map.max()) for prediction in proposal.images)
    paths = paths_of_ids(store, (prediction.image_id for prediction in proposal.images))
    rows = []
    for prediction in proposal.images:
        grey, path = load_or_none(store, prediction.image_id), paths[prediction.image_id]
        if grey is None:
            rows.append(lost_row(path))
            continue
        plain = plain_picture(grey)
        factor = plain.shape[0] // grey.shape[0]  # all three enlarged alike, so that pixels can be compared
        uncertain = prediction.uncertainty_map.repeat(factor, axis=0).repeat(factor, axis=1)
        shown = premask(prediction, proposal.model, store.catalogue.load)
        pictures = (plain, heatmap(uncertain, high=top), outline(grey, shown))
        rows.append(GalleryRow(pictures, f"{thousandths(prediction.uncertainty)}  {path}"))
    titles = ("image", "uncertainty", "pre-mask")
    return data_uri(fit_under(gallery(rows, titles=titles, cell_px=120, across=2), ARTIFACT_BYTES))


@dataclass(frozen=True)
class AnsweredImage:
    """An image of a round for the report: image, pre-mask and answer side by side, and what is said below."""

    path: str
    sheet: Rgb
    caption: str


def answered_images(store: Store, round_number: int) -> Iterator[AnsweredImage]:
    """A round's images with their pre-masks and the person's answers, the most uncertain first."""
    answers = {row.image_id: row for row in store.labels.answered(round_number)}
    chosen = store.proposals.chosen(round_number)
    for row, listed in zip(chosen, proposed_images(store, round_number), strict=True):
        path, uncertainty = str(listed["image"]), listed["uncertainty (thousandths)"]
        pictures = _answered_pictures(store, row, answers.get(row.image_id))
        told = (
            path,
            listed["taxon"],
            None if uncertainty is None else f"uncertainty {uncertainty} thousandths",
            listed["answer"] if pictures else "cannot be read any more",
        )
        titles = ("image", "pre-mask", "answer") if pictures else ()
        sheet = gallery([GalleryRow(tuple(pictures or [plain_picture(LOST)]), "")], titles=titles, cell_px=140)
        yield AnsweredImage(path, sheet, " · ".join(str(word) for word in told if word is not None))


def proposed_images(store: Store, round_number: int) -> list[dict[str, object]]:
    """The images of a round as rows of a table, in the order of its galleries: path, taxon, uncertainty, answer."""
    chosen = store.proposals.chosen(round_number)
    ids = [row.image_id for row in chosen]
    paths, images = paths_of_ids(store, ids), {row.image_id: row for row in store.catalogue.rows(ids)}
    answers = {row.image_id: row for row in store.labels.answered(round_number)}
    return [
        {
            "image": paths[row.image_id],
            "taxon": images[row.image_id].taxon if row.image_id in images else None,
            "uncertainty (thousandths)": None if row.uncertainty is None else thousandths(row.uncertainty),
            "answer": _verdict(answers.get(row.image_id)),
        }
        for row in chosen
    ]


def _answered_pictures(store: Store, row: ProposalRow, answer: LabelRow | None) -> list[Rgb]:
    """The image, its pre-mask and its answer; nothing of an image that is lost."""
    grey = load_or_none(store, row.image_id)
    if grey is None:
        return []
    nothing = np.full((1, 1, 3), PAPER, dtype=np.uint8)  # keeps the place of a mask that is not there
    shown, answered = row.premask_sha, answer.mask_sha if answer else None
    return [
        plain_picture(grey),
        nothing if shown is None else outline(grey, stored_mask(store, shown)),
        nothing if answered is None else outline(grey, stored_mask(store, answered), colour=CORRECTION),
    ]


def load_or_none(store: Store, image_id: str) -> Grey | None:
    """The image, None with a line in the log if it cannot be read any more."""
    try:
        return store.catalogue.load(image_id)
    except (ImageReadError, StoreError) as error:
        log.warning("Image %s is not shown: %s", image_id, error)
        return None


def thousandths(value: float) -> str:
    """An uncertainty for people, with three digits and without an exponent: 0.000312 is 0.312 thousandths."""
    if value < LEAST_SHOWN:
        return f"below {LEAST_SHOWN * 1000:g}"
    return np.format_float_positional(1000 * value, precision=3, unique=False, fractional=False, trim="-")


def lost_row(path: str) -> GalleryRow:
    """What a gallery shows for the image of this path, which cannot be read any more."""
    return GalleryRow((plain_picture(LOST),), f"cannot be read any more  {path}")


def _verdict(answer: LabelRow | None) -> str:
    if answer is None:
        return "not answered yet"
    if answer.status != "usable":
        return answer.status
    return answer.origin if answer.dice_to_premask is None else f"{answer.origin}, Dice {answer.dice_to_premask:.2f}"


def stored_mask(store: Store, sha: str) -> Mask:
    """The mask whose PNG has this sha256. Raises what `blobs.get` raises."""
    return decode_mask(store.blobs.get(sha, "png"))


def plain_picture(grey: Grey) -> Rgb:
    """The image without an outline, enlarged as `outline` enlarges it."""
    return outline(grey, np.zeros(grey.shape, dtype=bool))


def name_of(store: Store, image_id: str) -> str:
    """What one image is called in a caption; many are better asked for at once, by `paths_of_ids`."""
    return paths_of_ids(store, [image_id])[image_id]
