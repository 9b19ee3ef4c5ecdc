"""Six vignettes are repaired by clicks in the real Label Studio, by at most half of the actions of a brush.

They are real ones of ZooScanNet. What a brush took was counted before there were clicks: keys, strokes and drags of a
slider, from opening to Submit. Pre-masks are Otsu's: they lack what is pale or thin. Clicks go into the middle of the
largest error. Masks made by eye say how good the answers are.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from plankseg.imaging.arrays import Grey, Mask
from plankseg.imaging.masks import decode_mask, dice, largest_component
from plankseg.imaging.reading import read_grey
from plankseg.imaging.threshold import otsu_mask
from plankseg.interactive.simulated_clicks import next_click
from plankseg.labelling.api.client import LabelStudioClient
from plankseg.pipeline.annotation.connection import LABELING_CONFIG
from plankseg.pipeline.annotation.push_proposals import push
from plankseg.storage.store import Store
from tests.support.browser_session import ROUND, Desk, Pushed, propose
from tests.support.live_servers import LiveLabelStudio
from tests.support.screen_masks import painted
from tests.support.served_assistant import SECRET, assistant_for, served
from tests.support.ui_walk import Person, find_chromium, open_window, picture_folders, task_page

pytestmark = [pytest.mark.live, pytest.mark.browser, pytest.mark.slow]

GOOD = 0.95
BIVALVE_OF_29_PX = (
    "9,1 13,1 16,2 17.5,2.6 19,4 21,5.5 22.2,7 23.2,9 25,11 26,13 26.6,15 26.6,18 26,20.5 25.5,22.5 24,24.5 "
    "21.5,26.3 18,27.3 14,27.3 11.5,26.2 9.5,25 7,24 5.5,22.8 4,21.8 2.8,20.5 2,19 1.5,17 1.2,14 1.2,10.5 "
    "1.5,7.5 2,6 2.5,5 3,3.7 4,2.8 5.5,2 7.5,1.2"
)
"""Corners (x, y in pixels) of its outline, by eye on the image enlarged 20 times, before any answer was seen; where its
blur ends, as in the masks of the others."""


@dataclass(frozen=True)
class Vignette:
    """A vignette, and the actions by brush; `outline` (corners x, y) of the true mask where the data hold none."""

    file: str
    by_brush: int
    outline: str | None = None

    def read(self, data: Path) -> tuple[Grey, Mask]:
        grey = read_grey((data / "zooscannet-sample" / "imgs" / f"{self.file}.jpg").read_bytes())
        if self.outline is not None:
            return grey, inside(self.outline, grey.shape)
        return grey, decode_mask((data / "zooscannet-masks" / "masks" / f"{self.file}.png").read_bytes())


def inside(outline: str, shape: tuple[int, int]) -> Mask:
    """The pixels of which at least half is inside of an outline with these corners ("x,y x,y ...", in pixels)."""
    corners = np.array([pair.split(",") for pair in outline.split()], dtype=float)
    finer = 16
    drawn = np.zeros((shape[0] * finer, shape[1] * finer), np.uint8)
    cv2.fillPoly(drawn, [(corners * finer).astype(np.int32)], 1)
    share = cv2.resize(drawn.astype(np.float32), shape[::-1], interpolation=cv2.INTER_AREA)
    return np.asarray(share >= 0.5)


VIGNETTES = {
    "tail of an appendicularian": Vignette("Appendicularia/4815", by_brush=7 + 1),
    "chaetognath": Vignette("Chaetognatha/335", by_brush=11 + 5),
    "pale Evadne": Vignette("Evadne/1235", by_brush=9 + 4 + 3),
    "salp of 584 px": Vignette("Thaliacea/315", by_brush=15 + 18),
    "small body from nothing": Vignette("Bivalvia/1258", by_brush=10 + 5),
    "29 px from nothing": Vignette("Bivalvia/1575", by_brush=10 + 5, outline=BIVALVE_OF_29_PX),
}


def premask_of(name: str, grey: Grey) -> Mask:
    mask = otsu_mask(grey)
    if name.endswith("from nothing"):
        return np.zeros_like(mask)
    if name == "chaetognath":  # and nothing of it that is thin
        opened = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((5, 5), np.uint8)) > 0
        return largest_component(opened)
    return mask


@pytest.fixture(scope="module")
def truths() -> dict[str, tuple[Grey, Mask]]:
    folder = os.environ.get("PLANKSEG_REAL_DATA")
    if not folder:
        pytest.skip("PLANKSEG_REAL_DATA is not set: no real images to test with")
    return {name: vignette.read(Path(folder)) for name, vignette in VIGNETTES.items()}


@pytest.fixture(scope="module")
def desk(
    label_studio: LiveLabelStudio, truths: dict[str, tuple[Grey, Mask]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Desk]:
    chromium = find_chromium()
    if chromium is None:
        pytest.skip("no Chromium on this machine: run tests/install-chromium.sh as root")
    folder = tmp_path_factory.mktemp("actions")
    store = Store.open(folder / "store")
    with LabelStudioClient(label_studio.url, label_studio.token) as client, assistant_for(store) as assistant:
        with served(assistant.answer) as address, open_window(chromium) as page:
            project = client.ensure_project(f"actions {os.getpid()}", LABELING_CONFIG.read_text(encoding="utf-8"))
            client.ensure_assistant(project, address, SECRET)
            proposed = propose(
                store, folder, {name: (grey, premask_of(name, grey)) for name, (grey, _) in truths.items()}
            )
            tasks = push(store, client, project, round_number=ROUND).tasks
            pushed = {name: Pushed(image_id, tasks[image_id], mask) for name, (image_id, mask) in proposed.items()}
            person = Person(page, pictures=picture_folders(folder))
            person.log_in(label_studio.url, label_studio.email, label_studio.password)
            yield Desk(person, store, client, project, label_studio.email, pushed)


@pytest.mark.parametrize("name", VIGNETTES)
def test_clicks_take_at_most_half_of_the_actions_of_a_brush(
    desk: Desk, truths: dict[str, tuple[Grey, Mask]], name: str
) -> None:
    person, vignette, truth = desk.person, VIGNETTES[name], truths[name][1]
    pushed = desk.images[name]
    mask = pushed.premask
    address = task_page(desk.client, desk.project, pushed.task_id)
    if mask.any():
        person.open(address, mask=mask)
    else:
        person.page.goto(address)
        person.wait_for_image(mask.shape)
    person.take_clicks()  # the tool of a new browser: no key is pressed for it
    scores = [dice(mask, truth)]
    while scores[-1] < GOOD and 2 * len(scores) <= vignette.by_brush:
        click = next_click(mask, truth, None, np.random.default_rng(0))
        assert click is not None
        person.click(click.x_px, click.y_px, remove=not click.is_positive)
        mask = painted(person.shown(), truth.shape)
        scores.append(dice(mask, truth))
    person.look(f"actions-{name.replace(' ', '-')}")
    person.submit()
    row = desk.collect()[name]
    print(f"{name}: Dice after each click {np.round(scores, 3).tolist()}, by brush {vignette.by_brush} actions")
    np.testing.assert_array_equal(decode_mask(desk.store.blobs.get(str(row.mask_sha), "png")), mask)
    assert scores[-1] >= GOOD
    assert row.clicks == len(scores) - 1 <= vignette.by_brush / 2
