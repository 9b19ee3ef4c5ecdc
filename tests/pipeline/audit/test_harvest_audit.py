"""An audit of a harvest through Label Studio, in memory and real: drawn once, judged, stated."""

import json
import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from plankseg.config import AuditConfig, Settings
from plankseg.errors import EmptyPoolError, StoreError
from plankseg.imaging.arrays import Mask
from plankseg.imaging.masks import dice, encode_mask
from plankseg.labelling.api.client import LabelStudioClient
from plankseg.labelling.api.protocol import LabelStudio
from plankseg.labelling.testing.fake import FakeLabelStudio
from plankseg.labelling.testing.simulated_annotator import SimulatedAnnotator
from plankseg.pipeline.annotation.connection import project_of_audits
from plankseg.pipeline.audit import terminal_audit
from plankseg.pipeline.audit.harvest_audit import (
    Draw,
    collect,
    drawn_images,
    find_or_draw,
    push,
    read_audit,
    rows_of,
    state,
)
from plankseg.pipeline.exports.mask_records import masks_of_store
from plankseg.storage.store import Store
from plankseg.storage.tables.segments import MEASURES, SegmentRow
from tests.support.little_store import add_answers, add_model, noisy_image, square, store_with
from tests.support.live_servers import LiveLabelStudio
from tests.support.table_rows import sha

SHAPE = noisy_image(0).shape
TITLES = count()
TEN = AuditConfig(masks=10)


def truth(image_id: str) -> Mask:
    return square(SHAPE, 20)


def made_mask(number: int) -> Mask:
    """The model's mask of an image: right for four of five, else half of the object."""
    return square(SHAPE, 20 if number % 5 else 14)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Forty segmented images, the worst masks among the least confident half."""
    store = store_with(tmp_path, pool=40)
    segment(store, dict.fromkeys(range(40), 0.5) | {n: 0.9 + n / 1000 for n in range(40) if n % 5})
    return store


def segment(store: Store, confidences: dict[int, float | None] | dict[int, float]) -> None:
    model = add_model(store, 0)
    ids = store.catalogue.ids("pool")
    rows = [
        dict.fromkeys(MEASURES.names)
        | {
            "image_id": ids[number],
            "mask_sha": store.blobs.put(encode_mask(made_mask(number)), "png"),
            "confidence": confidence,
        }
        for number, confidence in confidences.items()
    ]
    rows.append(dict.fromkeys(MEASURES.names) | {"image_id": sha("lost"), "reason": "cannot be read"})
    store.segments.commit(
        SegmentRow(
            shard_id=sha("shard"),
            job=sha("job"),
            model_id=model.model_id,
            settings="{}",
            images=len(rows),
            unreadable=1,
            measures_sha=store.segments.put_measures(rows),
        )
    )


@pytest.fixture(params=["fake", pytest.param("live", marks=[pytest.mark.live, pytest.mark.slow])])
def server(request: pytest.FixtureRequest) -> Iterator[tuple[LabelStudio, Settings]]:
    settings = Settings(project=f"harvest {os.getpid()} {next(TITLES)}")
    if request.param == "fake":
        yield FakeLabelStudio(), settings
        return
    live: LiveLabelStudio = request.getfixturevalue("label_studio")
    with LabelStudioClient(live.url, live.token) as client:
        yield client, settings


def test_a_simulated_person_judges_the_drawn_masks_and_all_masks_get_their_figures(
    store: Store, server: tuple[LabelStudio, Settings]
) -> None:
    label_studio, settings = server
    project = project_of_audits(label_studio, settings)
    audit = find_or_draw(store, TEN)
    assert (len(audit.draws), audit.masks, audit.row.number) == (10, 40, 1)
    assert find_or_draw(store, TEN) == audit, "drawn once"
    new = push(store, label_studio, project, audit)
    assert new == len(audit.image_ids)
    assert push(store, label_studio, project, audit) == 0
    names = {image_id: store.catalogue.path(image_id).name for image_id in audit.image_ids}
    assert {task["data"]["file"] for task in label_studio.list_tasks(project, 1)} == set(names.values())
    before = state(store, audit, TEN)
    assert (before.open, before.usable.value, before.usable.low, before.usable.high) == (new, None, 0.0, 1.0)
    assert "images wait for an answer" in before.sentences()[1]

    person = SimulatedAnnotator(truth, skip_rate=0.0, unusable_rate=0.0)
    counts = person.answer_round(label_studio, project, audit.row.number)
    assert counts.accepted + counts.redrawn == new
    assert collect(store, label_studio, project, audit) == new
    assert collect(store, label_studio, project, audit) == 0
    stated = state(store, audit, TEN)
    ids = store.catalogue.ids("pool")
    figures = [dice(made_mask(ids.index(draw.image_id)), truth(draw.image_id)) for draw in audit.draws]
    assert stated.open == 0
    assert stated.usable.value == pytest.approx(np.mean(np.array(figures) >= TEN.usable_dice))
    assert stated.dice.value == pytest.approx(np.mean(figures))
    assert stated.usable.low <= 0.8 <= stated.usable.high
    assert [row["what"] for row in rows_of(stated)][2:] == [f"quarter {n}: good enough" for n in (1, 2, 3, 4)]
    assert stated.quarters[0][2].value == pytest.approx(1 / 3), "the fifth that is wrong is the least confident one"
    assert stated.quarters[-1][2].value == 1.0

    listed = {row["image"]: row for row in drawn_images(store, audit)}
    assert listed.keys() == set(names.values()), "by path"
    assert {row["answer"] for row in listed.values()} <= {"accepted", "corrected"}
    last = audit.draws[-1]
    figure = f"{figures[-1]:.3f}"
    assert listed[names[last.image_id]]["Dice"] == figure

    answered = {row.image_id: row for row in store.labels.current() if row.by_person}
    assert answered.keys() == set(audit.image_ids)
    assert {row.round for row in answered.values()} == {1}, "learnt from in the round that is trained next"
    origins = [record.origin for record in masks_of_store(store).records]
    assert origins.count("model") == 40 - new, "the person's masks leave"


def test_skipped_and_unusable_images_widen_the_interval_or_count_against_it(store: Store) -> None:
    audit = find_or_draw(store, TEN)
    first, second, *rest = audit.image_ids
    add_answers(store, 1, [first], status="skipped")
    add_answers(store, 1, [second], status="unusable")
    add_answers(store, 1, rest, mask=truth(first))
    stated = state(store, audit, TEN)
    assert (stated.open, stated.skipped, stated.unusable) == (0, 1, 1)
    assert [(row["answer"], row["Dice"]) for row in drawn_images(store, audit)[:2]] == [
        ("skipped", None),
        ("unusable", "0.000"),
    ]
    of_others = state(store, audit, AuditConfig(masks=10, usable_dice=0.01)).usable
    drawn = [draw.image_id for draw in audit.draws]
    known = len(drawn) - drawn.count(first)
    assert of_others.value == pytest.approx((known - drawn.count(second)) / known)
    assert of_others.low < of_others.value < of_others.high


def test_images_that_a_person_answered_and_lost_ones_are_not_drawn(store: Store) -> None:
    ids = store.catalogue.ids("pool")
    add_answers(store, 1, ids[:35], mask=truth(ids[0]))
    audit = find_or_draw(store, TEN)
    assert sorted(audit.image_ids) == ids[35:]
    add_answers(store, 1, ids[35:], mask=truth(ids[0]))
    stated = state(store, audit, TEN)
    assert stated.usable.low == stated.usable.value == stated.usable.high == 0.8, "all of five were judged"
    with pytest.raises(EmptyPoolError, match="a person answered all these images"):
        find_or_draw(store, AuditConfig(masks=10, seed=1))


def test_empty_masks_have_no_confidence_and_are_drawn_among_the_doubtful(tmp_path: Path) -> None:
    store = store_with(tmp_path, pool=10)
    segment(store, {0: None} | dict.fromkeys(range(1, 10), 0.9))
    drawn = find_or_draw(store, TEN)
    assert drawn.draws[0] == Draw(store.catalogue.ids("pool")[0], drawn.draws[0].mask_sha, 0.0)


def test_another_seed_is_another_audit_with_the_next_number(store: Store) -> None:
    first, second = find_or_draw(store, TEN), find_or_draw(store, AuditConfig(masks=10, seed=1))
    assert (first.row.number, second.row.number) == (1, 2)
    assert first.draws != second.draws
    assert [row.number for row in store.audits.all()] == [1, 2]
    assert store.audits.add(first.row).number == 1, "of two that draw at once one holds"


def test_without_masks_and_with_a_damaged_record_it_says_so(store: Store, tmp_path: Path) -> None:
    with pytest.raises(EmptyPoolError, match="Run the flow 'segment' first"):
        find_or_draw(Store.open(tmp_path / "other"), TEN)
    row = find_or_draw(store, TEN).row
    broken = store.blobs.put(json.dumps({"masks": 3}).encode(), "json")
    with pytest.raises(StoreError, match="record of audit 1 cannot be read"):
        read_audit(store, type(row)(**{name: getattr(row, name) for name in row.__slots__} | {"manifest_sha": broken}))


@pytest.mark.live
@pytest.mark.slow
def test_the_command_goes_on_where_it_stopped(store: Store, label_studio: LiveLabelStudio) -> None:
    settings = Settings(
        project=f"command {os.getpid()}", label_studio_url=label_studio.url, label_studio_token=label_studio.token
    )
    waiting = terminal_audit.run_audit(store, settings, TEN)
    assert waiting.open == len(waiting.audit.image_ids)
    with LabelStudioClient(label_studio.url, label_studio.token) as client:
        project = project_of_audits(client, settings)
        person = SimulatedAnnotator(truth, skip_rate=0.0, unusable_rate=0.0)
        person.answer_round(client, project, waiting.audit.row.number)
    assert terminal_audit.run_audit(store, settings, TEN).open == 0
