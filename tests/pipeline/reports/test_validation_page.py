"""The page of validation images: worst first, three outlines each, and nothing without a person's mask."""

from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from plankseg.config import Settings
from plankseg.errors import TrainingError
from plankseg.imaging.pictures.overlay import outline
from plankseg.pipeline.reports.validation_page import PERSON, ValidationImage, validation_images, write_validation_page
from plankseg.pipeline.training.round_training import fit
from tests.support.little_store import square, store_with
from tests.support.tiny_recipe import TINY

pytestmark = pytest.mark.slow

CPU = Settings(device="cpu")


def image(model_px: int, *, automatic: int | None = 12, half: str = "test") -> ValidationImage:
    person = square((34, 41), 12)
    return ValidationImage(
        path=f"copepod/{model_px}.png",
        half=half,
        grey=np.where(person, 60, 250).astype(np.uint8),
        person=person,
        model=square((34, 41), model_px),
        automatic=None if automatic is None else square((34, 41), automatic),
    )


def test_images_come_worst_first_with_the_masks_the_model_is_judged_by(tmp_path: Path) -> None:
    store = store_with(tmp_path, source=6, pool=2, validation=8)
    row = fit(store, TINY, CPU, round_number=0)
    images = validation_images(store, row, CPU)
    assert len(images) == 8
    assert {found.half for found in images} == {"selection", "test"}
    assert {found.path for found in images} == {f"{seed}.png" for seed in range(2000, 2008)}
    assert [found.dice for found in images] == sorted(found.dice for found in images)
    chosen = [found.dice for found in images if found.half == "selection"]
    assert np.mean(chosen) == pytest.approx(row.validation_dice, abs=1e-6)


def test_a_row_shows_three_outlines_or_says_that_the_threshold_rejects_the_image() -> None:
    row = image(9).row()
    assert len(row.pictures) == 4
    assert np.array_equal(row.pictures[1], outline(image(9).grey, image(9).person, colour=PERSON))
    assert row.caption == "model 0.720, automatic 1.000  (test)  copepod/9.png"
    rejected = image(9, automatic=None).row()
    assert len(rejected.pictures) == 3
    assert "automatic rejected" in rejected.caption


def test_the_page_has_all_sheets_and_the_figures_of_both_halves(tmp_path: Path) -> None:
    store = store_with(tmp_path / "store", source=6, pool=2, validation=2)
    row = fit(store, TINY, CPU, round_number=0)
    images = [image(size, half="selection" if size % 2 else "test") for size in range(4, 18)]
    write_validation_page(tmp_path / "page.html", row, images)
    text = (tmp_path / "page.html").read_text()
    pictures: list[str] = []

    class Pictures(HTMLParser):
        def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
            if tag == "img":
                pictures.append(str(dict(attributes)["alt"]))

    Pictures().feed(text)
    assert pictures == ["images 1 to 12", "images 13 to 14"]
    assert "7 images of the deciding half" in text
    assert "7 images of the test half" in text
    assert "automatic 1.000" in text
    assert [f"copepod/{size}.png" in text for size in range(4, 18)] == [True] * 14, "by path, in words"


def test_without_a_persons_mask_there_is_no_page(tmp_path: Path) -> None:
    store = store_with(tmp_path, source=6, pool=2)
    row = fit(store, TINY, CPU, round_number=0)
    with pytest.raises(TrainingError, match="no validation image with a mask"):
        validation_images(store, row, CPU)
