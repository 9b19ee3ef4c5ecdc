"""The report: one self-contained HTML page on a store's images, models and rounds, for the screen and for A4 paper."""

import importlib.metadata
import json
from base64 import b64encode
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from html import escape
from pathlib import Path

from plankseg.config import NetworkConfig
from plankseg.imaging.pictures.overlay import CORRECTION, data_uri, encode_jpeg, fit_under, gallery, outline
from plankseg.imaging.pictures.overlay import GalleryRow as Row
from plankseg.pipeline.archive.image_paths import paths_of_ids
from plankseg.pipeline.loop.annotators import work_by_annotator
from plankseg.pipeline.models.learning_curve import curve_svg, learning_curves, svg
from plankseg.pipeline.models.model_card import dice_words, limits
from plankseg.pipeline.models.recipes import recipe_in_force, recipe_of
from plankseg.pipeline.models.shown_masks import shown_masks
from plankseg.pipeline.models.standings import model_scores
from plankseg.pipeline.reports.effort_plot import EFFORT_WORDS, describe_anchoring, effort_figure, effort_table
from plankseg.pipeline.reports.html_page import figure, page_head, table, write_page
from plankseg.pipeline.reports.round_report import answered_images, load_or_none, plain_picture, stored_mask
from plankseg.pipeline.reports.standing_tables import (
    STANDING_COLUMNS,
    STANDING_WORDS,
    rival_lines,
    standing_rows,
    verdict_unless_told,
)
from plankseg.pipeline.reports.status import (
    MODEL_WORDS,
    ModelStatus,
    Status,
    last_decision,
    read_status,
    round_words,
    rounds_table,
)
from plankseg.storage.store import Store
from plankseg.storage.tables.models import ModelRow

ROUND_BYTES = 900_000
"""Pictures of one round; base64 adds a third."""

SHOWN_ROUNDS = (0, 1, 3)
CELL_PX = 200
MODEL_COLUMNS = (
    "model",
    "id",
    "image side",
    "epochs",
    "Dice, deciding half",
    "Dice, test half",
    "masks by",
    "was put into use",
)
ROLES = {"source": "source: clean, with automatic masks", "pool": "pool: to choose from", "validation": "validation"}


def write_report(store: Store, path: Path, *, note: str = "") -> None:
    """Write the page: data, models, effort, and every image of every round with its pre-mask and its answer.

    `note` stands at its top: what a reader must know of these rounds.
    """
    status = read_status(store, recipe_in_force(store).rounds)
    write_page(path, _page(store, status, note))


def _page(store: Store, status: Status, note: str) -> Iterator[str]:
    models = sorted(store.models.all(), key=lambda model: model.round)
    version, now = importlib.metadata.version("plankseg"), datetime.now(UTC).astimezone()
    yield page_head("plankseg: rounds and models")
    yield "<h1>plankseg: rounds and models</h1>"
    yield f'<p class="aside">Written on {_day(now.date())} at {now:%H:%M} with plankseg {version}.</p>'
    yield from _paragraphs(note, f"Next: {status.next}", last_decision(status), verdict_unless_told(status))
    yield from _data(store, status)
    if models:
        yield from _models(status, models)
        yield from _card(next((model for model in models if _is_active(status, model)), models[-1]))
        yield from _one_after_the_other(store, models)
    if status.rounds:
        yield from _rounds(store, status)
    if status.not_used:
        yield "<h2>Answers and images that are not used</h2>"
        yield from _paragraphs(*status.not_used)


def _paragraphs(*texts: str) -> Iterator[str]:
    yield from (f"<p>{escape(text)}</p>" for text in texts if text)


def _day(day: date) -> str:
    return f"{day.day} {day:%B %Y}"


def _is_active(status: Status, row: ModelRow) -> bool:
    return any(model.active and model.id == row.model_id for model in status.models)


def _data(store: Store, status: Status) -> Iterator[str]:
    images = status.images
    yield "<h2>Data</h2>"
    yield f"<p>{images.source} source images, {images.pool} in the pool, {images.validation} for validation.</p>"
    if found := store.catalogue.datasets():
        rows = [(ROLES[part.role], part.dataset, part.images, part.taxa or None) for part in found]
        yield table(("used as", "data set", "images", "taxa"), rows)
    tried = store.labels.automatic_masks()
    split = status.validation
    yield from _paragraphs(
        f"Automatic masks: made for {sum(tried.values())} of the {len(tried)} images that were tried." if tried else "",
        f"Of the validation images with a person's mask, {split.selection} decide which epoch and which model are "
        f"used; on the other {split.test} the Dice is only reported. {split.near_duplicates} images of source and pool "
        "that look nearly like one of them are never chosen nor trained on."
        if images.validation
        else "",
    )


def _models(status: Status, models: Sequence[ModelRow]) -> Iterator[str]:
    yield "<h2>How good the masks are</h2>"
    if curves := [curve for curve in learning_curves(models) if curve.points]:
        yield figure(
            _svg_uri(curve_svg(curves)),
            "Learning curve: Dice of each round's model to the masks of a person, with 95 % confidence intervals. "
            "Dashed: methods that need no model, on those images for which they give a mask.",
            alt="learning curve",
        )
    yield table(MODEL_COLUMNS, _model_rows(status))
    yield from _paragraphs(MODEL_WORDS)
    yield from _paragraphs(*(f"Model {model.round}: {model.reason}." for model in status.models))
    if rows := standing_rows(status):
        yield "<h3>Model in use and methods without a model</h3>" + table(STANDING_COLUMNS, rows)
        yield from _paragraphs(STANDING_WORDS)


def _model_rows(status: Status) -> list[tuple[object, ...]]:
    """The models, and below them the conventional methods on the same images."""
    models: list[tuple[object, ...]] = [
        (
            m.round,
            m.id[:8],
            f"{m.side_px} px",
            m.epochs,
            _three_digits(m.validation_dice),
            _three_digits(m.test_dice),
            _masked_by(m),
            m.promoted,
        )
        for m in status.models
    ]
    rivals = [
        (
            None,
            None,
            None,
            None,
            _three_digits(line.selection_dice),
            _three_digits(line.test_dice),
            f"{line.name}: {line.words()}",
            None,
        )
        for line in rival_lines(status)
    ]
    return [*models, *rivals]


def _masked_by(model: ModelStatus) -> str:
    """Whether the model is in use; and where no validation set was halved, the images of its Dice."""
    name = "model in use" if model.active else "model"
    where = model.validation_set or "deciding half"
    return name if "deciding half" in where else f"{name}, on the {where}"


def _three_digits(dice: float | None) -> str | None:
    return None if dice is None else f"{dice:.3f}"


def _card(model: ModelRow) -> Iterator[str]:
    """The model in use on one table, and what it is not good for."""
    recipe, metrics = recipe_of(model), json.loads(model.metrics)
    network, images, corrected = recipe.network, metrics.get("examples"), metrics.get("corrections")
    dice = dice_words(model.validation_dice, metrics.get("dice_interval")) or "not recorded"
    halves = [("Dice", f"{dice}, on the {model.validation_set or 'validation images'}")]
    if test := metrics.get("test"):
        told = dice_words(test["dice"], test.get("dice_interval"))
        halves.insert(0, ("Dice, test half", f"{told}, on the {test['images']} images that decided nothing"))
    rows = [
        ("model", f"{model.model_id[:8]}, of round {model.round}, trained on {_day(model.created_at)}"),
        ("network", f"{network.architecture} with the encoder {network.encoder}, started from {_start(network)}"),
        ("input", f"grey squares of {model.side_px} px"),
        ("training", f"{model.epochs} epochs" + (f" on {images} images" if images else "")),
        ("masks by a person", "not recorded" if corrected is None else f"{corrected} of these images"),
        *halves,
    ]
    yield "<section><h2>Model card</h2>"
    yield table(("", ""), rows)
    yield "<p>Limits:</p><ul>"
    yield from (f"<li>{escape(limit.replace('`', ''))}</li>" for limit in limits(model.side_px))
    yield "</ul></section>"


def _start(network: NetworkConfig) -> str:
    weights = network.encoder_weights
    if weights == "none":
        return "random numbers"
    if weights.endswith(".safetensors"):
        return "a file of weights"
    return "ImageNet weights" if weights == "imagenet" else f"{weights} weights"


def _one_after_the_other(store: Store, models: Sequence[ModelRow]) -> Iterator[str]:
    """The same images by model after model, with the person's mask."""
    recorded = {model.round: json.loads(model.metrics) for model in models if model.candidate is None}
    kept = {n: shown_masks(metrics) for n, metrics in recorded.items() if shown_masks(metrics)}
    if not kept:
        return
    newest = max(kept)
    rounds = sorted({n for n in SHOWN_ROUNDS if n in kept} | {newest})
    truth = {row.image_id: row for row in store.labels.current() if row.mask_sha}
    paths = paths_of_ids(store, kept[newest])
    yield "<h2>The same images, model after model</h2>"
    yield from _paragraphs(
        "Validation images that were picked at random, not chosen because they look good; no model learnt from them. "
        "Blue: a person's mask. Red: the mask of each model."
    )
    for image_id in kept[newest]:
        grey = load_or_none(store, image_id)
        if grey is None or image_id not in truth:
            continue
        person = outline(grey, stored_mask(store, str(truth[image_id].mask_sha)), colour=CORRECTION)
        made = [n for n in rounds if image_id in kept[n]]
        pictures = [plain_picture(grey), person, *(outline(grey, stored_mask(store, kept[n][image_id])) for n in made)]
        titles = ("image", "person", *(f"model {n}" for n in made))
        dices = ", ".join(f"model {n} {_dice_of(recorded[n], image_id)}" for n in made)
        sheet = gallery([Row(tuple(pictures), "")], titles=titles, cell_px=CELL_PX)
        yield figure(data_uri(encode_jpeg(sheet)), f"{paths[image_id]}. Dice: {dices}.", alt=paths[image_id])


def _dice_of(metrics: dict[str, object], image_id: str) -> str:
    scores = {**model_scores(metrics, "selection"), **model_scores(metrics, "test")}.get(image_id)
    return "unknown" if scores is None or scores[0] is None else f"{scores[0]:.3f}"


def _rounds(store: Store, status: Status) -> Iterator[str]:
    rows = [{name: cell for name, cell in row.items() if name != "model"} for row in rounds_table(status.rounds)]
    yield "<h2>Rounds</h2>" + table(tuple(rows[0]), [tuple(row.values()) for row in rows])
    yield from _paragraphs(round_words(status.rounds))
    yield from _people(store, status)
    if status.effort:
        yield "<h2>Effort</h2>"
        yield figure(_svg_uri(svg(effort_figure(status.effort))), "Effort of each round.", alt="effort per round")
        yield table(*effort_table(status.effort))
        yield from _paragraphs(EFFORT_WORDS, describe_anchoring(status.anchoring) if status.anchoring else "")
    for row in status.rounds:
        yield f"<h2>Round {row.round}</h2>"
        yield from _paragraphs(
            "The most uncertain image first; uncertainty serves to rank images. Red: the pre-mask. Blue: the answer. "
            "Dice: of the two."
        )
        images = list(answered_images(store, row.round))
        yield '<div class="grid">'
        for image in images:
            picture = fit_under(image.sheet, ROUND_BYTES // len(images))
            yield figure(data_uri(picture), image.caption, alt=f"image, pre-mask and answer of {image.path}")
        yield "</div>"


def _people(store: Store, status: Status) -> Iterator[str]:
    """Who answered how much, where that were several, and how far two people agree."""
    work = {row.round: work_by_annotator(store, row.round) for row in status.rounds}
    rows = [
        (n, person.annotator, person.answers, person.counted, f"{person.seconds / 60:.1f}")
        for n, people in work.items()
        if len(people) > 1
        for person in people
    ]
    if rows:
        yield "<h3>Several people</h3>" + table(("round", "person", "answers", "counted", "minutes"), rows)
        yield from _paragraphs("Of two answers to one image the newer one counts.")
    yield from _paragraphs(*(agreement.words for agreement in status.two_people))


def _svg_uri(picture: bytes) -> str:
    return f"data:image/svg+xml;base64,{b64encode(picture).decode('ascii')}"
