"""What a person looks at: galleries under the artifact's bound, and the images of a round with their answers."""

import base64
import re
from pathlib import Path

import pytest

from plankseg.config import Settings
from plankseg.pipeline.acquisition.propose import propose
from plankseg.pipeline.reports.round_report import (
    ARTIFACT_BYTES,
    answered_images,
    proposal_gallery,
    proposed_images,
)
from plankseg.storage.store import Store
from tests.support.little_store import add_answers, add_model, add_proposal, square, store_with
from tests.support.tiny_recipe import TINY

pytestmark = pytest.mark.slow

MASK = square((34, 41), 9)


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


def test_the_pictures_of_an_answer_change_with_it_and_say_what_it_is(store: Store) -> None:
    ids = store.catalogue.ids("pool")[:3]
    add_proposal(store, 1, ids, premask=square((34, 41), 12))
    before = list(answered_images(store, 1))
    assert [image.path for image in before] == [store.catalogue.path(image_id).name for image_id in ids]
    assert all(image.caption.endswith("not answered yet") for image in before)
    add_answers(store, 1, ids[:1], mask=MASK, dice_to_premask=0.72)
    add_answers(store, 1, ids[1:2], status="skipped")
    answered, skipped, still_open = answered_images(store, 1)
    assert answered.caption.endswith("corrected, Dice 0.72")
    assert skipped.caption.endswith("skipped")
    assert (answered.sheet != before[0].sheet).any()
    assert (skipped.sheet == before[1].sheet).all()
    assert (still_open.sheet == before[2].sheet).all()


def test_pictures_of_a_round_have_one_width_whether_answered_or_not(store: Store) -> None:
    ids = store.catalogue.ids("pool")[:2]
    add_proposal(store, 1, ids, premask=MASK)
    add_answers(store, 1, ids[:1], mask=MASK)
    assert len({image.sheet.shape for image in answered_images(store, 1)}) == 1
