"""Clicks, a box and an outline in the real Label Studio change the mask in place; what the screen held is stored."""

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.path import Path as Outline
from playwright.sync_api import Page, Route

from plankseg.imaging.masks import decode_mask
from plankseg.imaging.reading import read_grey
from plankseg.imaging.threshold import automatic_mask
from plankseg.labelling.api.client import LabelStudioClient
from plankseg.labelling.api.interactive_backend import ASSISTANT
from plankseg.labelling.api.tasks import PREMASK_REGION
from plankseg.labelling.assist.protocol import AssistAnswer, AssistRequest
from plankseg.local_servers import free_port
from plankseg.pipeline.annotation.connection import LABELING_CONFIG
from plankseg.pipeline.annotation.push_proposals import push
from plankseg.storage.store import Store
from tests.support.browser_session import ROUND, Desk, Pushed, propose, samples
from tests.support.screen_masks import painted
from tests.support.served_assistant import SECRET, assistant_for, served
from tests.support.ui_walk import Person, find_chromium, open_window, out_of, picture_folders, task_page

pytestmark = [pytest.mark.live, pytest.mark.browser, pytest.mark.slow]

NAMES = ("clicked", "painted and clicked", "boxed", "outlined", "undone", "plain", "real clicked", "real outlined")
SYNTHETIC = NAMES[:6]


def with_faults(grey: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A pre-mask of an object: its left third is missing, a disc of ground at the upper right is too much."""
    height, width = mask.shape
    columns = np.flatnonzero(mask.any(axis=0))
    premask = mask.copy()
    premask[:, : columns[0] + (columns[-1] - columns[0]) // 3] = False
    rows, across = np.mgrid[:height, :width]
    return grey, premask | ((rows - height * 0.1) ** 2 + (across - width * 0.93) ** 2 < (height * 0.07) ** 2)


def real_images() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Two vignettes of ZooScanNet with their automatic masks; synthetic ones where no real data are there."""
    names = ("real clicked", "real outlined")
    folder = os.environ.get("PLANKSEG_REAL_DATA")
    if not folder:
        return samples(("-",) * 7 + names)
    paths = [Path(folder) / "zooscannet-sample" / "imgs" / name for name in ("Evadne", "Chaetognatha")]
    greys = [read_grey(sorted(path.glob("*.jpg"))[0].read_bytes()) for path in paths]
    return {name: (grey, automatic_mask(grey).mask) for name, grey in zip(names, greys, strict=True)}


@pytest.fixture(scope="module")
def desk(label_studio: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    chromium = find_chromium()
    if chromium is None:
        pytest.skip("no Chromium on this machine: run tests/install-chromium.sh as root")
    folder = tmp_path_factory.mktemp("clicking")
    store = Store.open(folder / "store")
    images = {**samples(SYNTHETIC), **{name: pair for name, pair in real_images().items() if name in NAMES}}
    with LabelStudioClient(label_studio.url, label_studio.token) as client, assistant_for(store) as assistant:
        with served(assistant.answer) as address:
            project = client.ensure_project(f"clicks {os.getpid()}", LABELING_CONFIG.read_text(encoding="utf-8"))
            client.ensure_assistant(project, address, SECRET)
            faulty = {name: with_faults(grey, mask) for name, (grey, mask) in images.items()}
            faulty["boxed"] = (faulty["boxed"][0], np.zeros_like(faulty["boxed"][1]))
            proposed = propose(store, folder, faulty)
            tasks = push(store, client, project, round_number=ROUND).tasks
            pushed = {name: Pushed(image_id, tasks[image_id], mask) for name, (image_id, mask) in proposed.items()}
            with open_window(chromium) as page:
                person = Person(page, pictures=picture_folders(folder))
                person.log_in(label_studio.url, label_studio.email, label_studio.password)
                yield Desk(person, store, client, project, label_studio.email, pushed)


def outlined(regions: list[dict[str, Any]], shape: tuple[int, int]) -> np.ndarray:
    """The pixels whose centre lies inside an outline on the screen, by matplotlib's reckoning."""
    height, width = shape
    rows, columns = np.mgrid[:height, :width] + 0.5
    centres = np.stack([columns, rows], axis=-1).reshape(-1, 2)
    mask = np.zeros(shape, dtype=bool)
    for region in regions:
        if region["type"] == "polygonlabels" and "points" in region["value"]:
            corners = np.array(region["value"]["points"]) / 100 * (width, height)
            mask |= Outline(corners).contains_points(centres).reshape(shape)
    return mask


def open_task(desk: Desk, name: str) -> Pushed:
    pushed = desk.images[name]
    page = task_page(desk.client, desk.project, pushed.task_id)
    if pushed.premask.any():
        desk.person.open(page, mask=pushed.premask)
    else:
        desk.person.page.goto(page)
        desk.person.wait_for_image(pushed.premask.shape)
    desk.person.look(f"{name}-1-opened")
    return pushed


def submit(desk: Desk, name: str) -> tuple[list[dict[str, Any]], np.ndarray, Any]:
    """What the screen held, the stored mask and its row."""
    desk.person.look(f"{name}-3-before-submit")
    held = desk.person.shown()
    desk.person.submit()
    row = desk.collect()[name]
    assert row.status == "usable", row.reason
    return held, decode_mask(desk.store.blobs.get(str(row.mask_sha), "png")), row


def faults_of(premask: np.ndarray) -> tuple[tuple[float, float], tuple[float, float]]:
    """A point (x, y) of the object that is missing, beside the mask's left edge, and one in what is too much."""
    height, width = premask.shape
    body = premask[:, : int(width * 0.85)]
    left = np.flatnonzero(body.any(axis=0))[0]
    row = np.flatnonzero(body[:, left]).mean()
    return (left - 4.0, float(row)), (width * 0.93, height * 0.1)


@pytest.mark.parametrize("name", ["clicked", "real clicked"])
def test_a_click_adds_and_an_alt_click_removes_in_place_and_what_the_screen_held_is_stored(
    desk: Desk, name: str
) -> None:
    premask = open_task(desk, name).premask
    missing, too_much = faults_of(premask)
    desk.person.click(*missing)
    desk.person.look(f"{name}-2-clicked")
    added = painted(desk.person.shown(), premask.shape)
    assert added[int(missing[1]), int(missing[0])], "the click adds what is under it"
    assert (added | premask == added).all(), "and takes nothing away"
    desk.person.click(*too_much, remove=True)
    held, stored, row = submit(desk, name)
    assert [region["id"] for region in held] == [PREMASK_REGION], "one region, the pre-mask's own"
    np.testing.assert_array_equal(stored, painted(held, premask.shape))
    assert not stored[int(too_much[1]), int(too_much[0])]
    assert stored.sum() < added.sum()
    assert (row.origin, row.status, row.clicks, row.outlines) == ("corrected", "usable", 2, 0)


def test_ctrl_z_takes_a_click_back_and_the_eraser_works_without_choosing_the_mask(desk: Desk) -> None:
    premask = open_task(desk, "undone").premask
    missing, _ = faults_of(premask)
    desk.person.click(*missing)
    assert (painted(desk.person.shown(), premask.shape) != premask).any()
    desk.person.page.keyboard.press("Control+z")
    desk.person.wait_for_answer()
    desk.person.look("undone-2-undone")
    np.testing.assert_array_equal(painted(desk.person.shown(), premask.shape), premask)
    stroke = desk.person.erase(out_of(premask))
    held, stored, row = submit(desk, "undone")
    np.testing.assert_array_equal(stored, painted(held, premask.shape))
    assert not stored[stroke.core(premask.shape)].any()
    assert row.clicks == 0, "what was undone does not count"


def test_a_stroke_just_before_a_click_is_kept(desk: Desk) -> None:
    premask = open_task(desk, "painted and clicked").premask
    height, width = premask.shape
    missing, _ = faults_of(premask)
    stroke = desk.person.paint([(width * 0.3, height * 0.92), (width * 0.6, height * 0.92)])
    desk.person.click(*missing)
    held, stored, _ = submit(desk, "painted and clicked")
    assert len(held) == 1, "the brush painted into the mask, without choosing it"
    assert stored[stroke.core(premask.shape)].all()
    assert stored[int(missing[1]), int(missing[0])]
    np.testing.assert_array_equal(stored, painted(held, premask.shape))


def test_a_box_starts_a_mask_where_there_is_none(desk: Desk) -> None:
    shape = open_task(desk, "boxed").premask.shape
    truth = samples(SYNTHETIC)["boxed"][1]
    (top, left), (bottom, right) = np.argwhere(truth).min(axis=0), np.argwhere(truth).max(axis=0)
    desk.person.draw_box(left - 2, top - 2, right + 2, bottom + 2)
    held, stored, row = submit(desk, "boxed")
    assert [region["type"] for region in held] == ["brushlabels"]
    np.testing.assert_array_equal(stored, painted(held, shape))
    assert stored.any()
    assert row.clicks == 1


@pytest.mark.parametrize("name", ["outlined", "real outlined"])
def test_an_outline_is_filled_and_joined_with_the_mask(desk: Desk, name: str) -> None:
    premask = open_task(desk, name).premask
    height, width = premask.shape
    corners = [(0.1, 0.55), (0.35, 0.6), (0.5, 0.9), (0.2, 0.85)]
    desk.person.outline([(x * width, y * height) for x, y in corners])
    held, stored, row = submit(desk, name)
    assert len({region["id"] for region in held}) == 2, "the mask and the outline"
    inside = outlined(held, premask.shape)
    assert inside.sum() > 100
    np.testing.assert_array_equal(stored, premask | inside)
    assert (row.origin, row.clicks, row.outlines) == ("corrected", 0, 1)


def test_a_click_while_the_assistant_is_down_changes_nothing_and_says_so_and_later_clicks_work(
    desk: Desk, tmp_path: Path
) -> None:
    person, page = desk.person, desk.person.page
    store = Store.open(tmp_path / "store")
    project = desk.client.ensure_project(f"faults {os.getpid()}", LABELING_CONFIG.read_text(encoding="utf-8"))
    ((image_id, premask),) = propose(store, tmp_path, {"killed": with_faults(*samples(("killed",))["killed"])}).values()
    task = push(store, desk.client, project, round_number=ROUND).tasks[image_id]
    port = free_port()
    missing, _ = faults_of(premask)
    with assistant_for(store) as assistant:
        with served(assistant.answer, port=port) as address:
            desk.client.ensure_assistant(project, address, SECRET)
        person.open(task_page(desk.client, project, task), mask=premask)
        person.click(*missing)
        page.get_by_text("The assistant does not answer; the mask is unchanged").first.wait_for()
        person.look("killed-1-no-answer")
        np.testing.assert_array_equal(painted(person.shown(), premask.shape), premask)
        assert len(person.shown()) == 1, "the click is not left over"
        with served(assistant.answer, port=port, secret="another shared word for tests"):
            person.click(*missing)
            np.testing.assert_array_equal(painted(person.shown(), premask.shape), premask)
        with served(assistant.answer, port=port):
            person.click(*missing)
            assert painted(person.shown(), premask.shape)[int(missing[1]), int(missing[0])]


def test_on_a_label_studio_of_ones_own_clicks_work_with_both_switches_on_and_saved_strokes_are_kept(
    desk: Desk, tmp_path: Path
) -> None:
    person, page = desk.person, desk.person.page
    pushed = desk.images["plain"]
    premask, (height, width) = pushed.premask, pushed.premask.shape
    missing, too_much = faults_of(premask)
    with without_our_script(page):
        open_task(desk, "plain")
        for switch in ("auto-annotation", "auto-accept"):
            toggle = page.get_by_test_id(f"bottombar-{switch}-toggle")
            if not toggle.is_checked():
                toggle.check(force=True)
        person.choose_mask()
        stroke = person.paint([(width * 0.3, height * 0.92), (width * 0.6, height * 0.92)])
        with page.expect_response(lambda response: "/drafts" in response.url):
            pass
        person.click(*missing)
        page.keyboard.down("Control")
        person.click(*too_much, remove=True)
        page.keyboard.up("Control")
        held, stored, _ = submit(desk, "plain")
    np.testing.assert_array_equal(stored, painted(held, premask.shape))
    assert stored[int(missing[1]), int(missing[0])]
    assert not stored[int(too_much[1]), int(too_much[0])]
    assert stored[stroke.core(premask.shape)].all(), "strokes of a draft are saved as paths"


@contextmanager
def without_our_script(page: Page) -> Iterator[None]:
    """Pages as another Label Studio serves them, which `label_studio/serve.sh` did not start, in a new browser."""
    wanted = re.compile(r"/projects/\d+/data")

    def strip(route: Route) -> None:
        served = route.fetch()
        text, count = re.subn(r"<head><script>.*?</script>", "<head>", served.text(), count=1, flags=re.DOTALL)
        assert count == 1, "our script is at the head of the page"
        route.fulfill(response=served, body=text)

    page.evaluate("() => localStorage.clear()")
    page.route(wanted, strip)
    try:
        yield
    finally:
        page.unroute(wanted)


def test_what_is_painted_while_the_assistant_answers_is_kept(desk: Desk, tmp_path: Path) -> None:
    person, page = desk.person, desk.person.page
    store = Store.open(tmp_path / "store")
    project = desk.client.ensure_project(f"slow {os.getpid()}", LABELING_CONFIG.read_text(encoding="utf-8"))
    ((image_id, premask),) = propose(store, tmp_path, {"slow": with_faults(*samples(("slow",))["slow"])}).values()
    task = push(store, desk.client, project, round_number=ROUND).tasks[image_id]
    missing, too_much = faults_of(premask)
    asked, allowed = threading.Event(), threading.Event()
    with assistant_for(store) as assistant:

        def answer(request: AssistRequest) -> AssistAnswer:
            asked.set()
            assert allowed.wait(30)
            return assistant.answer(request)

        with served(answer) as address:
            desk.client.ensure_assistant(project, address, SECRET)
            person.open(task_page(desk.client, project, task), mask=premask)
            person.take_clicks()
            person.click_without_waiting(*missing)
            assert asked.wait(30)
            stroke = person.paint([(40, 92), (90, 92)])
            with page.expect_response(lambda response: "/interactive-annotating" in response.url):
                allowed.set()
            page.get_by_text("The mask was changed while the assistant answered").first.wait_for()
            person.wait_for_answer()
            held = painted(person.shown(), premask.shape)
            assert held[stroke.core(premask.shape)].all()
            assert not held[int(missing[1]), int(missing[0])]
            person.click(*too_much, remove=True)
            held = painted(person.shown(), premask.shape)
            assert held[stroke.core(premask.shape)].all()
            assert not held[int(too_much[1]), int(too_much[0])]


def test_a_task_that_is_not_ours_is_left_alone_and_the_person_is_told_why(desk: Desk) -> None:
    shown = {task["id"]: task["data"]["image"] for task in desk.client.list_tasks(desk.project)}
    pushed = desk.images["clicked"]
    before = shown.keys()
    desk.client.import_tasks(desk.project, [{"data": {"image": shown[pushed.task_id]}}])
    (added,) = [task["id"] for task in desk.client.list_tasks(desk.project) if task["id"] not in before]
    desk.person.page.goto(task_page(desk.client, desk.project, added))
    desk.person.wait_for_image(pushed.premask.shape)
    desk.person.click(20, 20)
    desk.person.page.get_by_text("This task was not pushed by plankseg").first.wait_for()
    assert desk.person.shown() == []


def test_the_assistant_is_registered_once_and_gives_no_predictions_of_its_own(desk: Desk) -> None:
    url = registered(desk)["url"]
    project, hook = f"api/projects/{desk.project}/", {"project": desk.project, "url": f"{url}/webhook"}
    # As Label Studio leaves a registration behind: whoever asked for it was killed before the rest.
    desk.client._write("POST", "api/webhooks/", hook | {"send_payload": True, "send_for_all_actions": True})
    desk.client._write("PATCH", project, {"model_version": ASSISTANT})
    again = desk.client.ensure_assistant(desk.project, url, SECRET)
    assert again == registered(desk)["id"]
    assert desk.client._read(project)["model_version"] == ""
    assert desk.client._read("api/webhooks/", project=desk.project) == [], "answers are not sent to the assistant"


def registered(desk: Desk) -> dict[str, Any]:
    (row,) = desk.client._read("api/ml", project=desk.project)
    found: dict[str, Any] = row
    return found
