"""What a person looks at: galleries under the artifact's bound, and one page that needs nothing else."""

import base64
import re
from pathlib import Path

import pytest

from plankseg.config import Settings
from plankseg.pipeline.acquisition.propose import propose
from plankseg.pipeline.reports.round_report import (
    ARTIFACT_BYTES,
    correction_gallery,
    proposal_gallery,
    proposed_images,
    write_report,
)
from plankseg.storage.store import Store
from tests.support.html_tags import Tags
from tests.support.little_store import add_answers, add_model, add_proposal, square, store_with
from tests.support.tiny_recipe import TINY

pytestmark = pytest.mark.slow

MASK = square((34, 41), 9)


def page(store: Store, path: Path) -> Tags:
    write_report(store, path)
    return Tags.of(path)


@pytest.fixture
def store(tmp_path: Path, weights: bytes) -> Store:
    store = store_with(tmp_path, source=1, pool=7)
    add_model(store, 0, weights=weights)
    return store


def test_the_gallery_of_a_proposal_fits_into_an_artifact(store: Store) -> None:
    uri = proposal_gallery(store, propose(store, TINY, Settings(device="cpu"), round_number=1))
    kind, data = uri.split(",", 1)
    assert re.fullmatch(r"data:image/(png|jpeg);base64", kind)
    picture = base64.b64decode(data, validate=True)
    assert picture[:4] in (b"\x89PNG", b"\xff\xd8\xff\xe0")
    assert 1000 < len(picture) <= ARTIFACT_BYTES


def test_the_images_of_a_round_are_listed_by_their_paths_in_the_order_of_the_gallery(store: Store) -> None:
    first, second, *_ = store.catalogue.ids("pool")
    add_proposal(store, 1, [second, first], premask=MASK)
    add_answers(store, 1, [first], status="skipped")
    names = {image_id: store.catalogue.path(image_id).name for image_id in (first, second)}
    taxon = store.catalogue.row(first).taxon
    assert proposed_images(store, 1) == [
        {"image": names[second], "taxon": taxon, "uncertainty (thousandths)": "1000", "answer": "not answered yet"},
        {"image": names[first], "taxon": taxon, "uncertainty (thousandths)": "500", "answer": "skipped"},
    ]


def test_the_gallery_of_corrections_changes_with_every_answer(store: Store) -> None:
    ids = store.catalogue.ids("pool")[:3]
    add_proposal(store, 1, ids, premask=square((34, 41), 12))
    before = correction_gallery(store, 1)
    add_answers(store, 1, ids[:1], mask=MASK, dice_to_premask=0.72)
    after = correction_gallery(store, 1)
    add_answers(store, 1, ids[1:2], status="skipped")
    skipped = correction_gallery(store, 1)
    assert before.shape[0] > 0
    assert not (before.shape == after.shape and (before == after).all())
    assert not (after.shape == skipped.shape and (after == skipped).all())


def test_the_report_shows_models_rounds_and_pictures_and_needs_nothing_from_outside(
    store: Store, tmp_path: Path
) -> None:
    for n, ids in ((1, store.catalogue.ids("pool")[:2]), (2, store.catalogue.ids("pool")[2:4])):
        add_proposal(store, n, ids, premask=square((34, 41), 12))
        add_answers(store, n, ids, mask=MASK, dice_to_premask=0.72, seconds=11.0)
        add_model(store, n)
    found = page(store, tmp_path / "report.html")
    pictures = [attributes for tag, attributes in found.tags if tag == "img"]
    assert [picture["alt"] for picture in pictures] == [f"images, pre-masks and answers of round {n}" for n in (1, 2)]
    assert all(str(picture["src"]).startswith("data:image/") for picture in pictures)
    assert not [tag for tag, _ in found.tags if tag in {"script", "link", "iframe"}]
    assert "All 2 rounds are done." in found.text
    assert "1 source images, 7 in the pool, 0 for validation" in found.text
    assert [tag for tag, _ in found.tags].count("table") == 4, "models, rounds, and the images of each round"
    files = {store.catalogue.path(image_id).name for image_id in store.catalogue.ids("pool")[:4]}
    assert all(f" {file} " in found.text for file in files), "by path, in words"
    assert not (tmp_path / "report.part").exists()


def test_the_report_of_an_empty_store_says_what_to_do_first(tmp_path: Path) -> None:
    found = page(Store.open(tmp_path / "store"), tmp_path / "report.html")
    assert "run the flow 'ingest'" in found.text
    assert [tag for tag, _ in found.tags].count("img") == 0


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
    assert [tag for tag, _ in found.tags].count("img") == 1
    assert "painted with <b>another</b> tool" in found.text
