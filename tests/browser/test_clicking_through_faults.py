"""Clicks beside a training, and with Label Studio restarted under the person: no stroke is lost, and clicks go on."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from plankseg import local_servers
from plankseg.imaging.masks import decode_mask
from plankseg.labelling.api.client import LabelStudioClient
from plankseg.pipeline.annotation.connection import LABELING_CONFIG
from plankseg.pipeline.annotation.push_proposals import push
from plankseg.storage.store import Store
from tests.support.browser_session import ROUND, Desk, Pushed, propose, samples
from tests.support.little_store import add_images
from tests.support.screen_masks import painted
from tests.support.served_assistant import SECRET, assistant_for, served
from tests.support.store_at_work import at_work
from tests.support.ui_walk import Person, find_chromium, open_window, picture_folders, task_page

pytestmark = [pytest.mark.live, pytest.mark.browser, pytest.mark.slow]

NAMES = ("restarted", "beside a training")


@dataclass
class OwnLabelStudio:
    """A Label Studio that only this module uses, and may restart."""

    settings: local_servers.ServerSettings
    server: local_servers.Server

    def stop(self) -> None:
        self.server.stop()

    def start(self) -> None:
        self.server = local_servers.start_label_studio(self.settings)
        self.server.wait()


@dataclass(frozen=True)
class Clicking:
    """A person before a round, with a Label Studio that may be restarted; what a mask lacks is left of x = 70."""

    desk: Desk
    label_studio: OwnLabelStudio
    folder: Path

    def open(self, name: str) -> Pushed:
        pushed = self.desk.images[name]
        self.desk.person.open(task_page(self.desk.client, self.desk.project, pushed.task_id), mask=pushed.premask)
        return pushed

    def stored(self, name: str) -> np.ndarray:
        row = self.desk.collect()[name]
        assert row.status == "usable", row.reason
        return decode_mask(self.desk.store.blobs.get(str(row.mask_sha), "png"))


def without_its_left_third(mask: np.ndarray) -> np.ndarray:
    columns = np.flatnonzero(mask.any(axis=0))
    lacking = mask.copy()
    lacking[:, : columns[0] + (columns[-1] - columns[0]) // 3] = False
    return lacking


def missing_in(premask: np.ndarray) -> tuple[float, float]:
    """A point (x, y) of the object just left of its pre-mask."""
    left = np.flatnonzero(premask.any(axis=0))[0]
    return left - 4.0, float(np.flatnonzero(premask[:, left]).mean())


@pytest.fixture(scope="module")
def clicking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clicking]:
    chromium = find_chromium()
    if chromium is None:
        pytest.skip("no Chromium on this machine: run tests/install-chromium.sh as root")
    folder = tmp_path_factory.mktemp("faults")
    settings = local_servers.ServerSettings(
        folder / "servers", prefect_port=local_servers.free_port(), label_studio_port=local_servers.free_port()
    )
    log_in = local_servers.ensure_credentials(settings.directory)
    own = OwnLabelStudio(settings, local_servers.start_label_studio(settings))
    with ExitStack() as stack:
        stack.callback(own.stop)
        own.server.wait()
        store = Store.open(folder / "store")
        add_images(store, folder, "source", range(1000, 1010))
        add_images(store, folder, "validation", range(2000, 2004))
        client = stack.enter_context(LabelStudioClient(settings.label_studio_url, log_in.token))
        assistant = stack.enter_context(assistant_for(store))
        address = stack.enter_context(served(assistant.answer))
        project = client.ensure_project("clicks through faults", LABELING_CONFIG.read_text(encoding="utf-8"))
        client.ensure_assistant(project, address, SECRET)
        drawn = {name: (grey, without_its_left_third(mask)) for name, (grey, mask) in samples(NAMES).items()}
        proposed = propose(store, folder, drawn)
        tasks = push(store, client, project, round_number=ROUND).tasks
        pushed = {name: Pushed(image_id, tasks[image_id], mask) for name, (image_id, mask) in proposed.items()}
        page = stack.enter_context(open_window(chromium))
        person = Person(page, pictures=picture_folders(folder))
        person.log_in(settings.label_studio_url, log_in.email, log_in.password)
        yield Clicking(Desk(person, store, client, project, log_in.email, pushed), own, folder)


def test_a_click_beside_a_training_is_answered_and_what_it_gives_is_collected(clicking: Clicking) -> None:
    person, premask = clicking.desk.person, clicking.open("beside a training").premask
    missing = missing_in(premask)
    gate = clicking.folder / "gate"
    with at_work("train", clicking.desk.store, gate) as training:
        person.click(*missing)
        person.look("beside-a-training-clicked")
        held = person.shown()
        assert training.poll() is None, "the store is locked by a training that is not at its end"
        assert painted(held, premask.shape)[int(missing[1]), int(missing[0])]
        person.submit()
        gate.touch()
        assert training.wait(timeout=600) == 0
    np.testing.assert_array_equal(clicking.stored("beside a training"), painted(held, premask.shape))


def test_while_label_studio_is_restarted_no_stroke_is_lost_and_afterwards_clicks_are_answered(
    clicking: Clicking,
) -> None:
    person, page = clicking.desk.person, clicking.desk.person.page
    premask = clicking.open("restarted").premask
    height, width = premask.shape
    missing = missing_in(premask)
    stroke = person.paint([(width * 0.3, height * 0.92), (width * 0.6, height * 0.92)])
    before = painted(person.shown(), premask.shape)
    clicking.label_studio.stop()
    person.take_clicks()
    person.click_without_waiting(*missing)
    page.get_by_text("Label Studio does not answer; the mask is unchanged").first.wait_for()
    person.wait_for_answer()
    person.look("restarted-1-down")
    np.testing.assert_array_equal(painted(person.shown(), premask.shape), before)
    assert len(person.shown()) == 1, "the click is not left over"
    clicking.label_studio.start()
    person.click(*missing)
    person.look("restarted-2-clicked")
    held = person.shown()
    after = painted(held, premask.shape)
    assert after[int(missing[1]), int(missing[0])]
    assert after[stroke.core(premask.shape)].all()
    person.submit()
    np.testing.assert_array_equal(clicking.stored("restarted"), after)
