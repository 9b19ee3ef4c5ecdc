"""What a person does to a mask in the real Label Studio is what the label store gets, pixel by pixel."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from plankseg.imaging.masks import decode_mask
from plankseg.labelling.api.client import LabelStudioClient
from plankseg.pipeline.annotation.collect_answers import collect
from plankseg.pipeline.annotation.connection import LABELING_CONFIG
from plankseg.pipeline.annotation.push_proposals import push
from plankseg.pipeline.archive.image_paths import paths_of_ids
from plankseg.storage.store import Store
from plankseg.storage.tables.labels import LabelRow
from tests.support.browser_session import CORRECTED, ODD_SIZES, ROUND, Desk, Pushed, odd_images, propose, samples
from tests.support.ui_walk import (
    Person,
    Stroke,
    find_chromium,
    open_window,
    out_of,
    picture_folders,
    tab_page,
    task_page,
)

ADDED_BY_HAND = {"data": {"image": "/static/images/none.png"}}
"""A task that was there first and is in no tab of a round: *Label All Tasks* must not serve it."""

pytestmark = [pytest.mark.live, pytest.mark.browser, pytest.mark.slow]


@dataclass(frozen=True)
class Answered:
    """What came of one task: the stored row and mask, beside the pre-mask and where the person drew."""

    row: LabelRow
    mask: np.ndarray | None
    premask: np.ndarray
    stroke: Stroke | None
    hidden_corners: list[tuple[float, float]]
    told: str


@pytest.fixture(scope="module")
def desk(label_studio: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    chromium = find_chromium()
    if chromium is None:
        pytest.skip("no Chromium on this machine: run tests/install-chromium.sh as root")
    folder = tmp_path_factory.mktemp("correcting")
    store = Store.open(folder / "store")
    with LabelStudioClient(label_studio.url, label_studio.token) as client:
        title = f"browser walk {os.getpid()}"
        project = client.ensure_project(title, LABELING_CONFIG.read_text(encoding="utf-8"))
        client.import_tasks(project, [ADDED_BY_HAND])
        proposed = propose(store, folder, odd_images() | samples(CORRECTED))
        tasks = push(store, client, project, round_number=ROUND).tasks
        images = {name: Pushed(image_id, tasks[image_id], mask) for name, (image_id, mask) in proposed.items()}
        with open_window(chromium) as page:
            person = Person(page, pictures=picture_folders(folder))
            person.log_in(label_studio.url, label_studio.email, label_studio.password)
            yield Desk(person, store, client, project, label_studio.email, images)


@pytest.fixture(scope="module")
def answers(desk: Desk) -> dict[str, Answered]:
    """One walk: a stroke in a task opened by its address, the rest as the label stream of the round's tab brings it."""
    person, strokes, hidden, told = desk.person, {}, {}, {}
    brushed = desk.images["brushed"]
    person.open(task_page(desk.client, desk.project, brushed.task_id), mask=brushed.premask)
    hidden["brushed"], told["brushed"] = person.hidden_corners(), person.which_image()
    strokes["brushed"] = act(person, "brushed", brushed.premask)
    person.wait_until_saved(brushed.premask)
    person.look("brushed-3-answered")
    tab = desk.client.ensure_tab(desk.project, "Round 1", ROUND)
    task = person.label_all(tab_page(desk.client, desk.project, tab))
    names = {pushed.task_id: name for name, pushed in desk.images.items() if name != "brushed"}
    while name := names.pop(task, None):
        person.wait_for_mask(desk.images[name].premask)
        hidden[name], told[name] = person.hidden_corners(), person.which_image()
        strokes[name] = act(person, name, desk.images[name].premask)
        if names:
            task = person.next_task()
    assert not names, f"task {task} is none of the round's tab"
    return {
        name: Answered(
            row=row,
            mask=None if row.mask_sha is None else decode_mask(desk.store.blobs.get(row.mask_sha, "png")),
            premask=desk.images[name].premask,
            stroke=strokes[name],
            hidden_corners=hidden[name],
            told=told[name],
        )
        for name, row in desk.collect().items()
    }


def act(person: Person, name: str, premask: np.ndarray) -> Stroke | None:
    """Do to the task on the screen what its name says."""
    person.look(f"{name}-1-opened")
    stroke = None
    if name in ("brushed", "erased"):
        person.choose_mask()
        stroke = (person.paint if name == "brushed" else person.erase)(out_of(premask))
    elif name == "painted at once":
        stroke = person.paint(out_of(premask))
    elif name == "deleted":
        person.delete_mask()
    elif name == "unusable":
        person.call_unusable()
    person.look(f"{name}-2-worked-on")
    if name == "skipped":
        person.skip()
    else:
        person.submit()
    return stroke


def check_where(answer: Answered, *, could_change: np.ndarray) -> None:
    """The answer is a correction: all of the stroke's core changed, and nothing out of its reach did."""
    assert answer.mask is not None
    assert answer.stroke is not None
    changed = answer.mask ^ answer.premask
    assert (answer.row.origin, answer.row.status) == ("corrected", "usable")
    assert answer.row.changed_px == changed.sum()
    core = answer.stroke.core(changed.shape) & could_change
    assert core.sum() > 100, "the stroke covers too little to prove anything"
    assert changed[core].all(), f"{(core & ~changed).sum()} of {core.sum()} pixels under the stroke did not change"
    elsewhere = changed & ~(answer.stroke.reach(changed.shape) & could_change)
    assert not elsewhere.any(), f"{elsewhere.sum()} pixels changed where no stroke was: {np.argwhere(elsewhere)[:5]}"


def test_all_of_each_image_can_be_reached_when_its_task_opens(answers: dict[str, Answered]) -> None:
    hidden = {name: answer.hidden_corners for name, answer in answers.items() if answer.hidden_corners}
    assert not hidden


def test_a_person_reads_which_image_of_the_round_it_is_its_taxon_and_its_file(
    desk: Desk, answers: dict[str, Answered]
) -> None:
    ranks = set()
    paths = paths_of_ids(desk.store, (desk.images[name].image_id for name in answers))
    for name, answer in answers.items():
        row = desk.store.catalogue.row(desk.images[name].image_id)
        words = answer.told.split(" · ")
        found = re.fullmatch(rf"image (\d+) of {len(answers)}", words[0])
        assert found, answer.told
        ranks.add(int(found[1]))
        path = paths[row.image_id]
        is_folder = row.taxon in path.split("/")[:-1]  # then the path tells it
        assert words[1:] == [f"round {ROUND}", *([row.taxon] if row.taxon and not is_folder else []), path]
    assert ranks == set(range(1, len(answers) + 1))


@pytest.mark.parametrize("name", ODD_SIZES)
def test_a_mask_accepted_unchanged_comes_back_with_no_pixel_different(answers: dict[str, Answered], name: str) -> None:
    row, mask = answers[name].row, answers[name].mask
    assert (row.origin, row.status, row.changed_px, row.dice_to_premask) == ("accepted", "usable", 0, 1.0)
    np.testing.assert_array_equal(mask, answers[name].premask)


def test_a_stroke_on_the_chosen_mask_changes_it_exactly_there(answers: dict[str, Answered]) -> None:
    check_where(answers["brushed"], could_change=~answers["brushed"].premask)


def test_paint_changes_the_mask_though_nobody_chose_a_region_or_a_label(answers: dict[str, Answered]) -> None:
    check_where(answers["painted at once"], could_change=~answers["painted at once"].premask)


def test_the_eraser_takes_away_exactly_its_stroke(answers: dict[str, Answered]) -> None:
    check_where(answers["erased"], could_change=answers["erased"].premask)


def test_a_deleted_mask_is_stored_as_an_empty_one(answers: dict[str, Answered]) -> None:
    row, mask = answers["deleted"].row, answers["deleted"].mask
    assert (row.origin, row.status, row.changed_px) == ("empty", "usable", answers["deleted"].premask.sum())
    assert mask is not None
    assert not mask.any()


@pytest.mark.parametrize("name", ["unusable", "skipped"])
def test_an_image_called_unusable_or_skipped_is_stored_without_a_mask(answers: dict[str, Answered], name: str) -> None:
    row = answers[name].row
    assert (row.status, row.mask_sha, row.pixel_sha, row.changed_px) == (name, None, None, None)


def test_each_answer_says_who_gave_it_and_how_long_it_took(desk: Desk, answers: dict[str, Answered]) -> None:
    assert answers.keys() == desk.images.keys()
    for name, answer in answers.items():
        assert (answer.row.annotator, answer.row.ls_task) == (desk.email, desk.images[name].task_id)
        assert answer.row.seconds is not None
        assert 0 < answer.row.seconds < 300


def test_collecting_again_finds_nothing_new(desk: Desk, answers: dict[str, Answered]) -> None:
    collected = collect(desk.store, desk.client, desk.project).rounds[ROUND]
    assert (collected.new, collected.answered, collected.open, collected.quarantined) == (0, len(answers), 0, ())
