"""Page of the validation images from worst to best: the outlines of the person, of the model and of a threshold."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np

from plankseg.config import Settings
from plankseg.errors import TrainingError
from plankseg.imaging.arrays import Grey, Mask
from plankseg.imaging.masks import decode_mask, dice
from plankseg.imaging.pictures.overlay import Colour, GalleryRow, data_uri, fit_under, gallery, outline
from plankseg.imaging.threshold import automatic_mask
from plankseg.pipeline.archive.image_paths import paths_of_ids
from plankseg.pipeline.models.evaluation import Evaluator
from plankseg.pipeline.models.standings import HALVES, Half
from plankseg.pipeline.pool.validation_split import halves
from plankseg.pipeline.reports.html_page import page_head, table, write_page
from plankseg.pipeline.reports.round_report import plain_picture
from plankseg.storage.store import Store
from plankseg.storage.tables.models import ModelRow

# Bluish green, vermilion and blue of Okabe and Ito: distinct for nearly everybody, and on grey.
PERSON: Colour = (0, 158, 115)
MODEL: Colour = (213, 94, 0)
AUTOMATIC: Colour = (0, 114, 178)
TITLES = ("image", "person", "model", "automatic")
ROWS_OF_A_SHEET = 12
SHEET_BYTES = 1_500_000


@dataclass(frozen=True)
class ValidationImage:
    """One validation image with the three masks; `automatic` is None where the threshold rejects the image."""

    path: str
    half: Half
    grey: Grey
    person: Mask
    model: Mask
    automatic: Mask | None

    @property
    def dice(self) -> float:
        """Dice of the model's mask to the person's."""
        return dice(self.model, self.person)

    @property
    def automatic_dice(self) -> float | None:
        """Dice of the automatic mask to the person's."""
        return None if self.automatic is None else dice(self.automatic, self.person)

    def row(self) -> GalleryRow:
        """The pictures and their caption."""
        by_threshold = _written(self.automatic_dice)
        drawn = [(self.person, PERSON), (self.model, MODEL)]
        drawn += [] if self.automatic is None else [(self.automatic, AUTOMATIC)]
        pictures = (plain_picture(self.grey), *(outline(self.grey, mask, colour=colour) for mask, colour in drawn))
        return GalleryRow(
            pictures, f"model {self.dice:.3f}, automatic {by_threshold}  ({HALVES[self.half]})  {self.path}"
        )


def validation_images(store: Store, model: ModelRow, settings: Settings) -> list[ValidationImage]:
    """The validation images with a mask that no threshold made, worst first by the model's Dice.

    Raises TrainingError when there is none, and what reading an image raises.
    """
    rows = {row.image_id: row for row in store.labels.current()}
    split = halves(store)
    parts: tuple[tuple[Half, tuple[str, ...]], ...] = (("selection", split.selection), ("test", split.test))
    half_of = {image_id: half for half, ids in parts for image_id in ids}
    if not half_of:
        raise TrainingError(
            "There is no validation image with a mask. Ingest some with --role validation --masks FOLDER, or start the"
            " flow annotate_validation."
        )
    ids = sorted(half_of)
    predicted = Evaluator.of_model(store, model, settings).masks(ids)
    paths = paths_of_ids(store, ids)
    images = []
    for image_id, mask in zip(ids, predicted, strict=True):
        grey = store.catalogue.load(image_id)
        images.append(
            ValidationImage(
                path=paths[image_id],
                half=half_of[image_id],
                grey=grey,
                person=decode_mask(store.blobs.get(str(rows[image_id].mask_sha), "png"), shape=grey.shape),
                model=mask,
                automatic=automatic_mask(grey, outline="local contrast").mask,
            )
        )
    return sorted(images, key=lambda image: (image.dice, image.path))


def write_validation_page(path: Path, model: ModelRow, images: Sequence[ValidationImage]) -> None:
    """Write the page: figures of both halves, then sheets of images from worst to best."""
    write_page(path, _page(model, images))


def _page(model: ModelRow, images: Sequence[ValidationImage]) -> Iterator[str]:
    title = f"Validation images of model {model.round}, from worst to best"
    yield page_head(title)
    yield f"<h1>{escape(title)}</h1>"
    for half, words in (("selection", "decided about this model"), ("test", "decided nothing")):
        of_half = [image for image in images if image.half == half]
        if of_half:
            yield f"<p>{_figures(of_half)} These {words}.</p>"
    for first in range(0, len(images), ROWS_OF_A_SHEET):
        shown = images[first : first + ROWS_OF_A_SHEET]
        rows = [image.row() for image in shown]
        sheet = gallery(rows, titles=TITLES, cell_px=180)
        picture = data_uri(fit_under(sheet, SHEET_BYTES))
        yield f'<p><img alt="images {first + 1} to {first + len(rows)}" src="{picture}"></p>'
        yield table(
            ("image", "half", "Dice of the model", "Dice of the automatic mask"),
            [(image.path, HALVES[image.half], f"{image.dice:.3f}", _written(image.automatic_dice)) for image in shown],
        )


def _written(figure: float | None) -> str:
    return "rejected" if figure is None else f"{figure:.3f}"


def _figures(images: Sequence[ValidationImage]) -> str:
    both = [(image.dice, image.automatic_dice) for image in images if image.automatic_dice is not None]
    model = float(np.mean([image.dice for image in images]))
    text = f"{len(images)} images of the {HALVES[images[0].half]} half: mean Dice of the model {model:.3f}."
    if both:
        ours, theirs = np.mean(both, axis=0)
        text += f" On the {len(both)} that have an automatic mask: model {ours:.3f}, automatic {theirs:.3f}."
    return text
