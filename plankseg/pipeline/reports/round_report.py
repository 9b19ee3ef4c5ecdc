"""Galleries of a round, and one self-contained HTML page on all rounds and models."""

import logging
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from plankseg.errors import ImageReadError, StoreError
from plankseg.imaging.arrays import Grey, Mask, Rgb
from plankseg.imaging.masks import decode_mask
from plankseg.imaging.overlay import CORRECTION, GalleryRow, data_uri, fit_under, gallery, heatmap, outline
from plankseg.pipeline.archive.image_paths import paths_of_ids
from plankseg.pipeline.models.recipes import recipe_in_force
from plankseg.pipeline.reports.html_page import page_head, table, write_page
from plankseg.pipeline.reports.standing_tables import (
    STANDING_COLUMNS,
    STANDING_WORDS,
    rival_lines,
    rival_sentence,
    standing_rows,
)
from plankseg.pipeline.reports.status import ROUND_HEADINGS, ROUND_WORDS, RoundStatus, Status, read_status
from plankseg.storage.store import Store
from plankseg.storage.tables.labels import LabelRow
from plankseg.storage.tables.proposals import ProposalRow

if TYPE_CHECKING:
    from plankseg.pipeline.acquisition.propose import Proposal  # loads torch and networks, which the page needs none of

ARTIFACT_BYTES = 140_000  # base64 adds a third; artifacts should stay under 200 kB, for they lie in Prefect's database
REPORT_BYTES = 900_000
LEAST_SHOWN = 1e-6  # of an uncertainty: smaller ones are all alike to a person
LOST = np.full((60, 60), 128, dtype=np.uint8)  # the picture of an image that cannot be read
log = logging.getLogger(__name__)
MODEL_COLUMNS = ("round", "model", "side", "epochs", "validation Dice", "test Dice", "measured on", "put to use", "why")
ROUND_COLUMNS = tuple(name for name in RoundStatus.model_fields if name != "model")


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


def correction_gallery(store: Store, round_number: int) -> Rgb:
    """A round's images with their pre-masks and the person's answers."""
    answers = {row.image_id: row for row in store.labels.answered(round_number)}
    chosen = store.proposals.chosen(round_number)
    paths = paths_of_ids(store, (row.image_id for row in chosen))
    rows = [_answered_row(store, row, answers.get(row.image_id), paths[row.image_id]) for row in chosen]
    return gallery(rows, titles=("image", "pre-mask", "answer"), cell_px=140, across=2)


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


def _answered_row(store: Store, row: ProposalRow, answer: LabelRow | None, path: str) -> GalleryRow:
    grey = load_or_none(store, row.image_id)
    if grey is None:
        return lost_row(path)
    pictures = [plain_picture(grey)]
    if row.premask_sha is not None:
        pictures.append(outline(grey, _mask(store, row.premask_sha)))
    if answer is not None and answer.mask_sha is not None:
        pictures.append(outline(grey, _mask(store, answer.mask_sha), colour=CORRECTION))
    return GalleryRow(tuple(pictures), f"{_verdict(answer)}  {path}")


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


def _mask(store: Store, sha: str) -> Mask:
    return decode_mask(store.blobs.get(sha, "png"))


def plain_picture(grey: Grey) -> Rgb:
    """The image without an outline, enlarged as `outline` enlarges it."""
    return outline(grey, np.zeros(grey.shape, dtype=bool))


def name_of(store: Store, image_id: str) -> str:
    """What one image is called in a caption; many are better asked for at once, by `paths_of_ids`."""
    return paths_of_ids(store, [image_id])[image_id]


def write_report(store: Store, path: Path) -> None:
    """Write the models, the rounds and a gallery of each round into one self-contained HTML page."""
    recipe = recipe_in_force(store)
    status = read_status(store, recipe.rounds)
    write_page(path, _page(store, status))


def _model_rows(status: Status) -> list[tuple[object, ...]]:
    """The models, and below them the conventional methods on the same images."""
    models: list[tuple[object, ...]] = [
        (
            m.round,
            m.id[:12],
            f"{m.side_px} px",
            m.epochs,
            _three_digits(m.validation_dice),
            _three_digits(m.test_dice),
            m.validation_set,
            m.promoted,
            m.reason,
        )
        for m in status.models
    ]
    rivals = [
        (
            None,
            line.name,
            None,
            None,
            _three_digits(line.selection_dice),
            _three_digits(line.test_dice),
            None,
            None,
            line.words(),
        )
        for line in rival_lines(status)
    ]
    return [*models, *rivals]


def _three_digits(dice: float | None) -> str | None:
    return None if dice is None else f"{dice:.3f}"


def _page(store: Store, status: Status) -> Iterator[str]:
    images = status.images
    yield page_head("plankseg")
    yield "<h1>plankseg: rounds and models</h1>"
    yield f"<p>{images.source} source images, {images.pool} in the pool, {images.validation} for validation.</p>"
    yield f"<p>Next: {escape(status.next)}</p>"
    if status.not_used:
        yield "<h2>Answers and images that are not used</h2>"
        yield from (f"<p>{escape(reason)}</p>" for reason in status.not_used)
    yield "<h2>Models</h2>" + table(MODEL_COLUMNS, _model_rows(status))
    if rows := standing_rows(status):
        yield "<h2>Model in use and conventional masks</h2>" + table(STANDING_COLUMNS, rows)
        yield f"<p>{escape(STANDING_WORDS)}</p>"
    yield f"<p>{escape(rival_sentence(status))}</p>"
    yield "<h2>Rounds</h2>" + table(
        [ROUND_HEADINGS.get(column, column) for column in ROUND_COLUMNS],
        [tuple(getattr(row, column) for column in ROUND_COLUMNS) for row in status.rounds],
    )
    if status.rounds:
        yield f"<p>{escape(ROUND_WORDS)}</p>"
    for row in status.rounds:
        picture = data_uri(fit_under(correction_gallery(store, row.round), REPORT_BYTES))
        yield f"<h2>Round {row.round}</h2><p>Red: the pre-mask. Blue: the answer.</p>"
        yield f'<img src="{picture}" alt="images, pre-masks and answers of round {row.round}">'
        listed = proposed_images(store, row.round)
        yield table(list(listed[0]), [list(image.values()) for image in listed])
