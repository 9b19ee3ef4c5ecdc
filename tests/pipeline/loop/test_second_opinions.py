"""A share of a round is asked of two people: offered to both by the real Label Studio, and counted once."""

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from plankseg.config import Settings
from plankseg.imaging.masks import dice
from plankseg.labelling.api.client import LabelStudioClient
from plankseg.labelling.api.tasks import premask_regions
from plankseg.pipeline.annotation.collect_answers import Collected, collect
from plankseg.pipeline.annotation.connection import project_of
from plankseg.pipeline.annotation.push_proposals import PushOptions, push
from plankseg.pipeline.loop.annotators import work_by_annotator
from plankseg.pipeline.loop.progress import due, read_progress
from plankseg.pipeline.loop.second_opinions import Agreement, agreements, asked_of_two, describe_agreement
from plankseg.storage.store import Store
from tests.support.annotation_desk import PREMASK, SHAPE, Desk, desk_with_round, task_of
from tests.support.labelling_project import label_stream_of, second_person
from tests.support.little_store import add_model, add_proposal, square, store_with
from tests.support.live_servers import LiveLabelStudio

HALF = PushOptions(asked_twice=0.5)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return desk_with_round(tmp_path)


def offered(desk: Desk) -> dict[str, int]:
    """So many people are offered each image."""
    return {task["data"]["image_id"]: task["overlap"] for task in desk.server.list_tasks(desk.project, 1)}


@pytest.mark.parametrize(("share", "asked"), [(0.0, 0), (0.01, 1), (0.25, 5), (0.5, 10), (1.0, 20)])
def test_the_share_is_that_of_the_images_and_at_least_one(share: float, asked: int) -> None:
    ids = [f"{n:064x}" for n in range(20)]
    drawn = asked_of_two(ids, share)
    assert len(drawn) == asked
    assert asked_of_two(ids[::-1], share) == drawn
    assert drawn <= set(ids)


def test_a_larger_share_keeps_what_a_smaller_one_drew() -> None:
    ids = [f"{n:064x}" for n in range(20)]
    assert asked_of_two(ids, 0.2) < asked_of_two(ids, 0.4)


def test_nobody_is_asked_twice_unless_the_recipe_says_so(desk: Desk) -> None:
    assert set(offered(desk).values()) == {1}
    assert agreements(desk.store, asked_twice=0.0) == []


def test_a_push_offers_the_share_to_a_second_person_and_a_second_push_changes_nothing(desk: Desk) -> None:
    twice = asked_of_two(desk.ids, 0.5)
    for _ in range(2):
        push(desk.store, desk.server, desk.project, round_number=1, options=HALF)
        assert offered(desk) == {image_id: 1 + (image_id in twice) for image_id in desk.ids}
    assert agreements(desk.store, asked_twice=0.5) == [Agreement(1, asked=2, masked=0)]


def test_a_task_that_a_person_offered_to_more_people_stays_so(desk: Desk) -> None:
    first = sorted(asked_of_two(desk.ids, 0.5))[0]
    desk.server.ask_people([task_of(desk.server, desk.project, first)], 5)
    push(desk.store, desk.server, desk.project, round_number=1, options=HALF)
    assert offered(desk)[first] == 5


def test_the_round_ends_without_the_second_person(desk: Desk) -> None:
    push(desk.store, desk.server, desk.project, round_number=1, options=HALF)
    for index in range(4):
        desk.answer(index, PREMASK)
    assert desk.collect().open == 0
    assert due(read_progress(desk.store), budget=3) == "retrain"


@pytest.mark.parametrize(
    ("agreement", "words"),
    [
        (Agreement(2, 4, 0), "Round 2: 4 images asked of two people, none masked by two so far."),
        (
            Agreement(2, 4, 1, 0.9, 0.9),
            "Round 2: 4 images asked of two people, 1 image masked by two; their masks agree to Dice 0.900, at worst "
            "0.900.",
        ),
        (
            Agreement(1, 0, 3, 0.91234, 0.8),
            "Round 1: 3 images masked by two; their masks agree to Dice 0.912, at worst 0.800.",
        ),
    ],
)
def test_agreement_in_words(agreement: Agreement, words: str) -> None:
    assert describe_agreement(agreement) == words


@pytest.fixture
def round_at_work(tmp_path: Path, label_studio: LiveLabelStudio) -> Iterator[tuple[Store, LabelStudioClient, int]]:
    """A round of four images in a real Label Studio, half of them asked of two people."""
    store = store_with(tmp_path, pool=5)
    add_model(store, 0)
    add_proposal(store, 1, store.catalogue.ids("pool")[:4], premask=PREMASK)
    with LabelStudioClient(label_studio.url, label_studio.token) as client:
        project = project_of(client, Settings(project=f"two people {os.getpid()}"))
        push(store, client, project, round_number=1, options=HALF)
        yield store, client, project


@pytest.mark.live
def test_label_studio_offers_two_people_what_is_asked_twice_and_one_the_rest(
    round_at_work: tuple[Store, LabelStudioClient, int], label_studio: LiveLabelStudio
) -> None:
    store, client, project = round_at_work
    images = {int(task["id"]): task["data"]["image_id"] for task in client.list_tasks(project, 1)}
    twice = {task for task, image_id in images.items() if image_id in asked_of_two(list(images.values()), 0.5)}
    owner = {"Authorization": f"Token {label_studio.token}"}
    masks = {"first": square(SHAPE, 10), "second": square(SHAPE, 14)}
    with (
        httpx.Client(base_url=label_studio.url, headers=owner) as first,
        second_person(label_studio, f"second-{os.getpid()}@lab.org") as second,
    ):
        served: dict[str, list[int]] = {"first": [], "second": []}
        for name, browser in (("first", first), ("second", second)):
            for task in label_stream_of(browser, project, 1):
                served[name].append(task)
                body = {"result": premask_regions(masks[name], origin="manual"), "lead_time": 5.0}
                browser.post(f"/api/tasks/{task}/annotations/", json=body).raise_for_status()
    assert sorted(served["first"]) == sorted(images)
    assert sorted(served["second"]) == sorted(twice)

    assert collect(store, client, project).rounds[1] == Collected(new=6, answered=4, open=0, quarantined=())
    agreed = round(dice(masks["first"], masks["second"]), 4)
    assert agreements(store, asked_twice=0.5) == [Agreement(1, asked=2, masked=2, dice=agreed, lowest=agreed)]
    work = {person.annotator: (person.answers, person.counted) for person in work_by_annotator(store, 1)}
    assert work == {label_studio.email: (4, 2), f"second-{os.getpid()}@lab.org": (2, 2)}
    assert len(store.labels.answered(1)) == 4
    push(store, client, project, round_number=1, options=HALF)  # answered: nothing is offered anew
    assert collect(store, client, project).new == 0
