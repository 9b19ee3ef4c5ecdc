"""The whole loop as a laboratory sees it: two web pages, no terminal. Real servers, the real interfaces."""

import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from plankseg import local_servers
from plankseg.imaging.masks import decode_mask
from plankseg.imaging.synthetic.demo_domains import write_domains
from plankseg.labelling.api.client import LabelStudioClient
from plankseg.pipeline.loop.progress import read_progress
from plankseg.storage.store import Store
from plankseg.storage.tables.proposals import ProposalRow
from tests.support.prefect_api import get, log_of, runs, serve_up, until
from tests.support.run_form import RunForm, log_in_to_prefect
from tests.support.ui_walk import Person, find_chromium, open_window, out_of, picture_folders, tab_page

pytestmark = [pytest.mark.live, pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(1500)]
# What the person does with the first images of the round; the rest is submitted as it is.
DONE_TO = ("brushed", "brushed", "brushed", "erased", "emptied", "skipped", "unusable")
Up = tuple[local_servers.ServerSettings, "subprocess.Popen[bytes]"]


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    if find_chromium() is None:
        pytest.skip("no Chromium on this machine: run tests/install-chromium.sh as root")
    with serve_up(tmp_path_factory.mktemp("loop")) as served:
        yield served


def deployment_id(at: local_servers.ServerSettings, flow: str) -> str:
    return str(get(at, f"deployments/name/{flow}/{flow}")["id"])


def wait_for_end(at: local_servers.ServerSettings, run_id: str) -> dict[str, Any]:
    seen: dict[str, Any] = {}

    def has_ended() -> bool:
        seen.update(get(at, f"flow_runs/{run_id}"))
        return seen["state_type"] in {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}

    until(has_ended, what=lambda: f"{seen.get('state_name')}\n{log_of(at, run_id)}", timeout_s=240)
    assert seen["state_type"] == "COMPLETED", seen
    return seen


def start_in_the_prefect_ui(at: local_servers.ServerSettings, person: Person, folder: Path) -> None:
    """Register two folders and train a small model 0, by the run forms."""
    folders = write_domains(folder, source=30, pool=60, validation=1)
    for role, images in (("source", folders.source), ("pool", folders.pool)):
        form = RunForm(person.page, at.prefect_url, deployment_id(at, "ingest"))
        form.write("Folder", str(images))
        form.choose("Role", role)
        person.look(f"prefect-ingest-{role}")
        wait_for_end(at, form.submit())
    form = RunForm(person.page, at.prefect_url, deployment_id(at, "pretrain"))
    assert form.height_px() < 1000, "it fits on one screen"
    form.choose("Recipe", "own")
    for group in ("Advanced", "Network", "Training", "Choice of images"):
        form.open(group)
    small = {
        "Encoder": "resnet18",
        "Encoder weights": "none",
        "Side (px)": "64",
        "Epochs": "6",
        "Images per epoch": "128",
        "Learning rate": "0.001",
        "Processes that read images": "0",
        "Candidate sets": "3",
    }
    for label, value in small.items():
        form.write(label, value)
    person.look("prefect-pretrain")
    wait_for_end(at, form.submit())
    person.page.wait_for_timeout(1000)
    person.look("prefect-pretrain-has-run")


def premask(store: Store, row: ProposalRow) -> np.ndarray:
    assert row.premask_sha is not None
    return decode_mask(store.blobs.get(row.premask_sha, "png"))


def is_possible(deed: str, mask: np.ndarray) -> bool:
    """Whether it would change this pre-mask: a young model may paint all of an image, or nothing."""
    if deed in {"brushed", "erased"} and mask.any():
        corner_x, corner_y = out_of(mask)[-1]
        return bool(mask[int(corner_y), int(corner_x)]) is (deed == "erased")
    return bool(mask.any()) or deed in {"skipped", "unusable"}


def correct_round_one(person: Person, client: LabelStudioClient, store: Store) -> Counter[str]:
    """Go through the label stream of the round's tab; what was done how often."""
    project = client.find_project("plankseg")
    assert project is not None
    tasks = {task["id"]: task["data"]["image_id"] for task in client.list_tasks(project, 1)}
    masks = {row.image_id: premask(store, row) for row in store.proposals.chosen(1)}
    tab = tab_page(client, project, client.ensure_tab(project, "Round 1", 1))
    person.page.goto(tab)
    person.page.wait_for_timeout(3000)
    person.look("round-1-tab")
    stream: str | None = f"{tab}&labeling=1"
    wishes, done = list(DONE_TO), Counter[str]()
    for number in range(20):
        mask = masks[tasks[person.next_task(stream)]]
        stream = None
        if mask.any():
            person.wait_for_mask(mask)
        deed = next((wish for wish in wishes if is_possible(wish, mask)), "unchanged")
        if deed != "unchanged":
            wishes.remove(deed)
        if deed in {"brushed", "erased"}:
            person.choose_mask()
            (person.paint if deed == "brushed" else person.erase)(out_of(mask))
        elif deed == "emptied":
            person.delete_mask()
        elif deed == "unusable":
            person.call_unusable()
        person.look(f"round-1-image-{number:02d}-{deed}")
        if deed == "skipped":
            person.skip()
        else:
            person.submit()
        done[deed] += 1
    person.page.get_by_text("When a round is complete").wait_for()
    person.look("round-1-answered")
    assert wishes == [], f"no pre-mask of the round was fit for {wishes}"
    return done


def test_a_laboratory_works_in_two_web_pages_and_finds_the_next_twenty_waiting(up: Up, tmp_path: Path) -> None:
    at, _ = up
    chromium = find_chromium()
    assert chromium is not None
    log_in = local_servers.ensure_credentials(at.directory)
    with open_window(chromium) as page, LabelStudioClient(at.label_studio_url, log_in.token) as client:
        person = Person(page, pictures=picture_folders(tmp_path))
        log_in_to_prefect(page, at.prefect_url, log_in.prefect_login)
        start_in_the_prefect_ui(at, person, tmp_path / "images")
        store = Store.open(at.store)
        until(lambda: tasks_of(client, 1) == 20, what=lambda: str(read_progress(store)), timeout_s=500)
        person.log_in(at.label_studio_url, log_in.email, log_in.password)
        done = correct_round_one(person, client, store)
        until(
            lambda: tasks_of(client, 2) == 20,
            what=lambda: f"{read_progress(store)}\n{[run['state_name'] for run in runs(at, 'advance')]}",
            timeout_s=500,
        )

        answers = store.labels.answered(1)
        assert Counter(row.status for row in answers) == {"usable": 18, "skipped": 1, "unusable": 1}
        origins = Counter(row.origin for row in answers if row.status == "usable")
        assert origins == {"accepted": done["unchanged"], "corrected": 4, "empty": 1}
        model = next(model for model in store.models.all() if model.round == 1)
        assert model.parent is not None
        assert model.promoted, model.reason
        second = store.proposals.chosen(2)
        assert {row.model_id for row in second} == {model.model_id}
        assert not {row.image_id for row in second} & {row.image_id for row in answers}
        assert len([model for model in store.models.all() if model.round == 1]) == 1, "one training for one round"

        project = client.find_project("plankseg")
        assert project is not None
        tasks = {task["id"]: task for task in client.list_tasks(project, 2)}
        assert all(task["predictions"] for task in tasks.values())
        shown = person.next_task(f"{tab_page(client, project, client.ensure_tab(project, 'Round 2', 2))}&labeling=1")
        mask = {row.image_id: premask(store, row) for row in second}[tasks[shown]["data"]["image_id"]]
        if mask.any():
            person.wait_for_mask(mask)
        person.look("round-2-waits")
        started_by = {run["created_by"]["type"] for run in runs(at, "advance") if run["created_by"]}  # type: ignore[index]
        assert "AUTOMATION" in started_by, "the event started it, not the clock alone"
        for name in ("runs", "deployments", "artifacts"):
            page.goto(f"{at.prefect_url}/{name}")
            page.wait_for_timeout(3000)
            person.look(f"prefect-{name}")
        assert person.stumbled == []


def tasks_of(client: LabelStudioClient, round: int) -> int:
    project = client.find_project("plankseg")
    return 0 if project is None else len(client.list_tasks(project, round))
