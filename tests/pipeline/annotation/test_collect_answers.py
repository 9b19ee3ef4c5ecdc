"""People's answers reach the store: each version once, malformed ones quarantined, edits as new versions."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from plankseg.config import Settings
from plankseg.errors import LabelStudioDownError
from plankseg.labelling.api import regions
from plankseg.labelling.api.tasks import Task, premask_regions
from plankseg.labelling.testing.fake import FakeLabelStudio
from plankseg.labelling.testing.simulated_annotator import SimulatedAnnotator
from plankseg.pipeline.annotation.collect_answers import Collected, collect
from plankseg.pipeline.annotation.connection import project_of
from plankseg.pipeline.annotation.push_proposals import push
from plankseg.pipeline.loop.progress import read_progress
from tests.support.annotation_desk import PREMASK, SHAPE, Desk
from tests.support.little_store import START, add_proposal, square, store_with


def test_collecting_twice_adds_nothing(desk: Desk) -> None:
    desk.answer(0, PREMASK)
    assert desk.collect() == Collected(new=1, answered=1, open=3, quarantined=())
    version = desk.store.labels.version()
    assert desk.collect() == Collected(new=0, answered=1, open=3, quarantined=())
    assert desk.store.labels.version() == version


def test_a_row_says_what_the_person_changed(desk: Desk) -> None:
    desk.answer(0, PREMASK)
    desk.answer(1, square(SHAPE, 10))
    desk.answer(2)
    annotation = desk.answer(3, was_cancelled=True)
    desk.collect()
    accepted, corrected, emptied, skipped = (desk.row(index) for index in range(4))
    assert (accepted.origin, accepted.dice_to_premask, accepted.changed_px) == ("accepted", 1.0, 0)
    assert (corrected.origin, corrected.changed_px) == ("corrected", 44)
    assert corrected.dice_to_premask == pytest.approx(200 / 244)
    assert (emptied.origin, emptied.status, emptied.dice_to_premask, emptied.changed_px) == ("empty", "usable", 0, 144)
    assert (skipped.status, skipped.mask_sha, skipped.dice_to_premask, skipped.changed_px) == (
        "skipped",
        None,
        None,
        None,
    )
    assert (skipped.ls_annotation, skipped.seconds, skipped.annotator) == (annotation, 7.5, "fake@plankseg.local")
    premask_sha = desk.store.proposals.chosen(1)[0].premask_sha
    model = desk.store.models.active()
    assert model is not None
    assert {(row.premask_sha, row.model_id) for row in (accepted, corrected, emptied, skipped)} == {
        (premask_sha, model.model_id)
    }
    np.testing.assert_array_equal(desk.mask(1), square(SHAPE, 10))
    assert not desk.mask(2).any()


def test_an_edited_answer_becomes_a_new_version_and_counts(desk: Desk) -> None:
    annotation = desk.answer(0, PREMASK)
    desk.collect()
    better = square(SHAPE, 20)
    desk.server.update_annotation(annotation, premask_regions(better, origin="manual"), lead_time=9.0)
    assert desk.collect().new == 1
    assert len(desk.store.labels.history(desk.ids[0])) == 2
    assert (desk.row(0).origin, desk.row(0).ls_annotation) == ("corrected", annotation)
    np.testing.assert_array_equal(desk.mask(0), better)


def test_a_malformed_answer_is_quarantined_alone_and_heals_when_it_is_edited(desk: Desk) -> None:
    good = premask_regions(PREMASK, origin="manual")
    torn = [{**good[0], "value": {**good[0]["value"], "rle": good[0]["value"]["rle"][:-3]}}]
    annotation = desk.answer(0, result=torn)
    desk.answer(1, PREMASK)
    collected = desk.collect()
    assert (collected.new, collected.answered, collected.open) == (2, 2, 2)
    assert len(collected.quarantined) == 1
    assert desk.ids[0] in collected.quarantined[0]
    assert (desk.row(0).status, desk.row(0).mask_sha, desk.row(0).reason) == (
        "quarantined",
        None,
        collected.quarantined[0],
    )
    assert desk.row(1).status == "usable"
    desk.server.update_annotation(annotation, good, lead_time=1.0)
    assert desk.collect().quarantined == ()
    assert desk.row(0).status == "usable"


def test_of_two_annotators_the_newer_answer_counts_and_both_are_kept(desk: Desk) -> None:
    desk.answer(0, PREMASK)
    desk.answer(0, square(SHAPE, 15))
    assert desk.collect() == Collected(new=2, answered=1, open=3, quarantined=())
    assert len(desk.store.labels.history(desk.ids[0])) == 2
    np.testing.assert_array_equal(desk.mask(0), square(SHAPE, 15))


def test_a_malformed_newer_answer_of_a_second_person_does_not_hide_the_first_ones(desk: Desk) -> None:
    desk.answer(0, PREMASK)
    desk.answer(0, result=[{"type": "polygon"}])
    collected = desk.collect()
    assert (collected.answered, len(collected.quarantined)) == (1, 1)
    assert desk.row(0).status == "usable"
    assert desk.collect().quarantined == ()


def test_a_person_takes_an_answer_back_by_skipping(desk: Desk) -> None:
    annotation = desk.answer(0, PREMASK)
    desk.collect()
    skip(desk.server, annotation)
    assert desk.collect() == Collected(new=1, answered=1, open=3, quarantined=())
    assert (desk.row(0).status, desk.row(0).ls_annotation) == ("skipped", annotation)


def skip(server: FakeLabelStudio, annotation: int) -> None:
    """What the interface does when an answer that was submitted is skipped afterwards."""
    server.update_annotation(annotation, [], lead_time=1.0)
    for _, task in server._tasks.values():
        for answer in task["annotations"]:
            if answer["id"] == annotation:
                answer["was_cancelled"] = True


def test_a_skip_does_not_take_back_the_answer_of_another_person(desk: Desk) -> None:
    desk.answer(0, PREMASK)
    desk.answer(0, was_cancelled=True)
    desk.collect()
    assert desk.row(0).status == "usable"


def test_an_answer_changed_in_a_later_round_arrives_from_one_listing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    annotation = desk.answer(0, PREMASK)
    torn = desk.answer(1, result=[{"type": "polygon"}])
    before = collect(desk.store, desk.server, desk.project).rounds
    assert {n: (collected.new, collected.open, len(collected.quarantined)) for n, collected in before.items()} == {
        1: (2, 2, 1)
    }
    later = desk.store.catalogue.ids("pool")[4:]
    add_proposal(desk.store, 2, later, premask=PREMASK)
    push(desk.store, desk.server, desk.project, round_number=2)
    better = square(SHAPE, 20)
    for number in (annotation, torn):
        desk.server.update_annotation(number, premask_regions(better, origin="manual"), lead_time=9.0)
    task = desk.server.list_tasks(desk.project, 2)[0]["id"]
    desk.server.create_annotation(task, premask_regions(PREMASK, origin="manual"), lead_time=1.0)
    listings: list[tuple[int, ...]] = []
    original = desk.server.list_tasks

    def listed(*arguments: int) -> list[Task]:
        listings.append(arguments)
        return original(*arguments)

    monkeypatch.setattr(desk.server, "list_tasks", listed)
    assert collect(desk.store, desk.server, desk.project).rounds == {
        1: Collected(new=2, answered=2, open=2, quarantined=()),
        2: Collected(new=1, answered=1, open=0, quarantined=()),
    }
    assert listings == [(desk.project,)]
    for index in (0, 1):
        np.testing.assert_array_equal(desk.mask(index), better)
    version = desk.store.labels.version()
    assert [collected.new for collected in collect(desk.store, desk.server, desk.project).rounds.values()] == [0, 0]
    assert desk.store.labels.version() == version


def test_before_a_round_was_proposed_there_is_nothing_to_collect(tmp_path: Path) -> None:
    server = FakeLabelStudio()
    assert collect(store_with(tmp_path), server, project_of(server, Settings())).rounds == {}


def test_answers_that_are_in_the_store_are_not_decoded_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.answer(0, PREMASK)
    desk.collect()
    decoded: list[object] = []
    monkeypatch.setattr(regions, "decode_brush", lambda rle, **_: decoded.append(rle))
    assert desk.collect() == Collected(new=0, answered=1, open=3, quarantined=())
    assert decoded == []


def test_images_are_looked_up_in_one_reading(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    original = desk.store.tables.read

    def counted(table: str, **options: object) -> object:
        read.append(table)
        return original(table, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(desk.store.tables, "read", counted)
    desk.collect()
    push(desk.store, desk.server, desk.project, round_number=1)
    assert read.count("images") <= 2


def test_a_round_can_be_collected_in_parts(desk: Desk) -> None:
    for index in range(4):
        desk.answer(index, PREMASK)
        assert desk.collect() == Collected(new=1, answered=index + 1, open=3 - index, quarantined=())
        assert read_progress(desk.store).unanswered == 3 - index


def test_drafts_are_no_answers(desk: Desk) -> None:
    task = desk.server.list_tasks(desk.project, 1)[0]["id"]
    desk.server.save_draft(task, premask_regions(PREMASK, origin="manual"))
    assert desk.collect() == Collected(new=0, answered=0, open=4, quarantined=())


def test_the_task_of_an_image_we_did_not_propose_is_left_alone(desk: Desk) -> None:
    stranger = desk.store.catalogue.ids("pool")[4]
    data = {"image": "/x.png", "image_id": stranger, "round": 1, "key": f"1:{stranger}"}
    desk.server.import_tasks(desk.project, [{"data": data}])
    task = desk.server.list_tasks(desk.project, 1)[-1]["id"]
    desk.server.create_annotation(task, [], lead_time=1.0)
    assert desk.collect() == Collected(new=0, answered=0, open=4, quarantined=())


def test_without_a_premask_the_answer_is_drawn_and_has_nothing_to_be_compared_with(tmp_path: Path) -> None:
    store = store_with(tmp_path, pool=1)
    ids = store.catalogue.ids("pool")
    add_proposal(store, 1, ids)
    server = FakeLabelStudio()
    project = project_of(server, Settings())
    push(store, server, project, round_number=1)
    desk = Desk(store, server, project, ids)
    desk.answer(0, PREMASK)
    desk.collect()
    row = desk.row(0)
    assert (row.origin, row.dice_to_premask, row.changed_px, row.premask_sha) == ("drawn", None, None, None)


def test_a_simulated_person_answers_all_and_the_store_holds_the_truth(desk: Desk) -> None:
    truths = {image_id: square(SHAPE, 12 + index) for index, image_id in enumerate(desk.ids)}
    person = SimulatedAnnotator(truths.__getitem__, skip_rate=0, unusable_rate=0)
    counts = person.answer_round(desk.server, desk.project, 1)
    assert desk.collect() == Collected(new=4, answered=4, open=0, quarantined=())
    assert counts.accepted + counts.redrawn == 4
    assert desk.row(0).origin == "accepted"
    np.testing.assert_array_equal(desk.mask(3), truths[desk.ids[3]])
    assert desk.row(0).answered_at > START


def test_a_collect_that_broke_off_wrote_nothing(desk: Desk) -> None:
    desk.answer(0, PREMASK)
    desk.server.break_before = "list_tasks"
    with pytest.raises(LabelStudioDownError):
        desk.collect()
    assert desk.store.labels.answered(1) == []
    assert desk.collect().new == 1


def test_a_kill_between_masks_and_rows_is_healed_by_the_next_collect(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> Callable[..., int]:
        raise KeyboardInterrupt

    desk.answer(0, PREMASK)
    monkeypatch.setattr(desk.store.labels, "add", killed)
    with pytest.raises(KeyboardInterrupt):
        desk.collect()
    monkeypatch.undo()
    assert desk.collect() == Collected(new=1, answered=1, open=3, quarantined=())


def test_an_edit_after_the_servers_clock_went_back_counts_and_is_taken_once(desk: Desk) -> None:
    number = desk.answer(0, PREMASK)
    assert desk.collect().new == 1
    desk.server.update_annotation(number, [], lead_time=3.0)
    for _, task in desk.server._tasks.values():
        for annotation in task["annotations"]:
            annotation["updated_at"] = "2001-01-01T00:00:00Z"
    assert desk.collect().new == 1
    assert (desk.row(0).origin, desk.row(0).status) == ("empty", "usable")
    assert desk.collect().new == 0
    assert [row.origin for row in desk.store.labels.history(desk.ids[0])] == ["accepted", "empty"]
