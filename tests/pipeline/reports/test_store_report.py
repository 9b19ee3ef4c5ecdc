"""The report: one page that needs nothing else, says all that a colleague asks, and is whole on A4 paper."""

import base64
import importlib.metadata
import json
import re
from pathlib import Path
from typing import Any

import pytest

from plankseg.imaging.masks import encode_mask
from plankseg.pipeline.models.shown_masks import shown_images
from plankseg.pipeline.reports.store_report import write_report
from plankseg.storage.store import Store
from tests.support.html_tags import Tags
from tests.support.little_store import add_answers, add_model, add_proposal, square, store_with
from tests.support.screens import not_for_people
from tests.support.ui_walk import find_chromium, open_window

MASK = square((34, 41), 9)
SECTIONS = (
    "Data",
    "How good the masks are",
    "Model card",
    "The same images, model after model",
    "Rounds",
    "Effort",
    "Round 1",
    "Round 2",
    "Round 3",
)


def page(store: Store, path: Path) -> Tags:
    write_report(store, path)
    return Tags.of(path)


def pictures(found: Tags) -> dict[str, str]:
    """Address of each picture by what it shows."""
    return {str(attributes["alt"]): str(attributes["src"]) for tag, attributes in found.tags if tag == "img"}


def measured(store: Store, dice: float) -> str:
    """Metrics of a model on the validation images, as a training records them, with the masks it keeps for reports."""
    ids = list(store.catalogue.ids("validation"))
    scores = {image_id: [dice, dice] for image_id in ids}
    card: dict[str, Any] = {"images": scores}
    rivals = {"fixed threshold": {image_id: [0.31, 0.31] for image_id in ids}}
    shape = square((34, 41), round(12 * dice))
    kept = {image_id: store.blobs.put(encode_mask(shape), "png") for image_id in shown_images(ids)}
    test = {"dice": dice, "dice_interval": [dice - 0.1, dice + 0.1], "images": len(ids)}
    return json.dumps(
        {"measures": {"test": card}, "rivals": {"test": rivals}, "test": test, "shown_masks": kept, "examples": 30}
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = store_with(tmp_path, source=1, pool=9)
    add_model(store, 0)
    return store


@pytest.fixture
def after_three_rounds(tmp_path: Path) -> Store:
    """Three answered rounds of two images, models 0 to 3 with four validation images, two people in the last round."""
    store = store_with(tmp_path, source=1, pool=9, validation=4)
    ids = store.catalogue.ids("pool")
    add_model(store, 0, metrics=measured(store, 0.5))
    for n in (1, 2, 3):
        add_proposal(store, n, ids[2 * n : 2 * n + 2], premask=square((34, 41), 12))
        add_answers(store, n, ids[2 * n : 2 * n + 2], mask=MASK, dice_to_premask=0.72, seconds=11.0, annotator="anna")
        add_model(store, n, metrics=measured(store, 0.5 + 0.1 * n))
    add_answers(store, 3, ids[6:7], mask=square((34, 41), 10), annotator="ben", dice_to_premask=0.8, seconds=9.0)
    return store


def test_the_page_says_when_by_which_version_on_which_data_and_what_the_model_is(
    after_three_rounds: Store, tmp_path: Path
) -> None:
    found = page(after_three_rounds, tmp_path / "report.html")
    headings = found.text
    positions = [headings.index(f" {title} ") for title in SECTIONS]
    assert positions == sorted(positions)
    assert f"with plankseg {importlib.metadata.version('plankseg')}" in found.text
    assert "1 source images, 9 in the pool, 4 for validation" in found.text
    assert "on 30 images" in found.text
    assert "Limits:" in found.text
    test, deciding = found.text.index("Dice, test half 0."), found.text.index(" Dice 0.")
    assert "confidence interval" in found.text[test:deciding], "what chose nothing comes first, with its bounds"
    assert not_for_people((tmp_path / "report.html").read_text()) == []


def test_pictures_are_in_the_page_and_nothing_comes_from_outside(after_three_rounds: Store, tmp_path: Path) -> None:
    found = page(after_three_rounds, tmp_path / "report.html")
    shown = pictures(found)
    assert all(address.startswith("data:image/") for address in shown.values())
    assert not [tag for tag, _ in found.tags if tag in {"script", "link", "iframe"}]
    store = after_three_rounds
    asked = [row.image_id for n in (1, 2, 3) for row in store.proposals.chosen(n)]
    files = [store.catalogue.path(image_id).name for image_id in asked]
    assert {f"image, pre-mask and answer of {file}" for file in files} <= set(shown)
    assert all(f"{file} · " in found.text for file in files), "by path, in words"
    kept = [store.catalogue.path(i).name for i in shown_images(list(store.catalogue.ids("validation")))]
    assert set(kept) <= set(shown)
    assert len(kept) == 3
    assert not (tmp_path / "report.part").exists()


def test_the_learning_curve_has_every_model_and_the_line_of_the_method_that_needs_none(
    after_three_rounds: Store, tmp_path: Path
) -> None:
    address = pictures(page(after_three_rounds, tmp_path / "report.html"))["learning curve"]
    kind, data = address.split(",", 1)
    assert kind == "data:image/svg+xml;base64"
    drawn = base64.b64decode(data, validate=True).decode()
    assert "fixed threshold (4 of 4 images)" in drawn


def test_the_same_images_are_shown_by_models_0_1_and_3_with_their_dice(
    after_three_rounds: Store, tmp_path: Path
) -> None:
    found = page(after_three_rounds, tmp_path / "report.html")
    assert found.text.count("Dice: model 0 0.500, model 1 0.600, model 3 0.800.") == 3


def test_models_of_an_older_plankseg_kept_no_masks_and_the_rest_is_there(store: Store, tmp_path: Path) -> None:
    found = page(store, tmp_path / "report.html")
    assert "model after model" not in found.text
    assert "Model card" in found.text
    assert "learning curve" not in pictures(found)


def test_two_people_are_told_apart_and_their_agreement_is_said(after_three_rounds: Store, tmp_path: Path) -> None:
    found = page(after_three_rounds, tmp_path / "report.html")
    assert "Several people" in found.text
    assert "Round 3: 1 image masked by two; their masks agree to Dice 0.895" in found.text


def test_the_report_of_an_empty_store_says_what_to_do_first(tmp_path: Path) -> None:
    found = page(Store.open(tmp_path / "store"), tmp_path / "report.html")
    assert "run the flow 'ingest'" in found.text
    assert pictures(found) == {}


def test_words_of_a_store_are_text_and_never_markup(store: Store, tmp_path: Path) -> None:
    row = store.models.of_round(0)
    assert row is not None
    fields = {name: getattr(row, name) for name in row.__slots__}
    store.models.commit(type(row)(**fields | {"round": 1, "reason": "<script>alert('a & b')</script>"}))
    found = page(store, tmp_path / "report.html")
    assert not [tag for tag, _ in found.tags if tag == "script"]
    assert "<script>alert('a & b')</script>" in found.text


def test_an_image_that_was_lost_is_shown_as_lost_and_the_rest_as_ever(store: Store, tmp_path: Path) -> None:
    ids = store.catalogue.ids("pool")[:2]
    add_proposal(store, 1, ids, premask=square((34, 41), 12))
    add_answers(store, 1, ids[:1], mask=MASK, dice_to_premask=0.72)
    add_answers(store, 1, ids[1:], status="quarantined", reason="painted with <b>another</b> tool")
    store.catalogue.path(ids[0]).unlink()
    found = page(store, tmp_path / "report.html")
    lost = store.catalogue.row(ids[0]).uri.rpartition("/")[2]
    assert f"image, pre-mask and answer of {lost}" in pictures(found)
    assert "cannot be read any more" in found.text
    assert "painted with <b>another</b> tool" in found.text


PAPER_PX = round((210 - 2 * 14) / 25.4 * 96)
"""Width of A4 within the margins of the page's style."""

WIDER_THAN_THE_PAPER = """[...document.querySelectorAll('table, img')]
    .filter(shown => shown.getBoundingClientRect().right > innerWidth + 1).map(shown => shown.outerHTML.slice(0, 80))"""
MAY_BE_CUT = """[...document.querySelectorAll('table, figure')]
    .filter(shown => getComputedStyle(shown).breakInside !== 'avoid').length"""


@pytest.mark.browser
def test_on_a4_paper_no_table_and_no_picture_is_cut(after_three_rounds: Store, tmp_path: Path) -> None:
    chromium = find_chromium()
    if chromium is None:
        pytest.skip("no Chromium on this machine: run tests/install-chromium.sh as root")
    write_report(after_three_rounds, tmp_path / "report.html")
    with open_window(chromium) as shown:
        shown.set_viewport_size({"width": PAPER_PX, "height": 1000})
        shown.goto((tmp_path / "report.html").as_uri())
        shown.emulate_media(media="print")
        assert shown.evaluate(WIDER_THAN_THE_PAPER) == []
        assert shown.evaluate(MAY_BE_CUT) == 0
        paper = shown.pdf(prefer_css_page_size=True)
    assert re.findall(rb"/MediaBox *\[0 0 (\d+)[\d.]* (\d+)", paper)[0] in [(b"594", b"841"), (b"595", b"842")], "A4"
