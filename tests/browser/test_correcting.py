"""What a person does to a mask in the real Label Studio is what the label store gets, pixel by pixel."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from walking import Person, Stroke, find_chromium, open_window

from plankseg.imaging.masks import decode_mask, encode_mask
from plankseg.imaging.reading import encode_grey
from plankseg.imaging.synthetic import draw_sample
from plankseg.labelling.client import LabelStudioClient
from plankseg.rounds import answering
from plankseg.storage.blobs import sha256_of
from plankseg.storage.catalogue import ImageRow
from plankseg.storage.labels import LabelRow
from plankseg.storage.proposals import ProposalRow
from plankseg.storage.store import Store

pytestmark = [pytest.mark.live, pytest.mark.browser, pytest.mark.slow]

ODD_SIZES = ("11x29", "29x11", "1285x134", "134x1285", "70x600", "600x70")  # width x height
CORRECTED = ("brushed", "painted beside", "erased", "deleted", "unusable")
STREAMED = ("taken in the stream", "skipped in the stream")


@dataclass(frozen=True)
class Pushed:
    """One image in Label Studio: its task and the pre-mask that came with it."""

    image_id: str
    task_id: int
    round: int
    premask: np.ndarray


@dataclass(frozen=True)
class Desk:
    """A person before a store's rounds in Label Studio."""

    person: Person
    store: Store
    client: LabelStudioClient
    project: int
    email: str
    images: dict[str, Pushed]

    def open(self, name: str) -> Pushed:
        """Show the person a task; its pre-mask is to be seen."""
        pushed = self.images[name]
        self.person.open(self.client.task_url(self.project, pushed.task_id), mask=pushed.premask)
        return pushed

    def collect(self, pushed: Pushed) -> LabelRow:
        """Collect the round, and give the answer to one image."""
        answering.collect(self.store, self.client, self.project, round_number=pushed.round)
        rows = {row.image_id: row for row in self.store.labels.answered(pushed.round)}
        row = rows[pushed.image_id]
        assert (row.annotator, row.ls_task, row.reason) == (self.email, pushed.task_id, None)
        assert row.seconds is not None
        assert row.seconds > 0
        return row

    def stored_mask(self, row: LabelRow) -> np.ndarray:
        assert row.mask_sha is not None
        return decode_mask(self.store.blobs.get(row.mask_sha, "png"))


@pytest.fixture(scope="module")
def desk(label_studio: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    chromium = find_chromium()
    if chromium is None:
        pytest.skip("no Chromium on this machine: run tests/install-chromium.sh as root")
    folder = tmp_path_factory.mktemp("correcting")
    store = Store.open(folder / "store")
    with LabelStudioClient(label_studio.url, label_studio.token) as client:
        title = f"browser walk {os.getpid()}"
        project = client.ensure_project(title, answering.LABELING_CONFIG.read_text(encoding="utf-8"))
        first = propose(store, folder, {**odd_images(), **samples(CORRECTED, first_seed=0)}, round_number=1)
        second = propose(store, folder, samples(STREAMED, first_seed=20), round_number=2)
        tasks = {}
        for number in (1, 2):
            tasks |= answering.push(store, client, project, round_number=number).tasks
        images = {
            name: Pushed(image_id, tasks[image_id], number, mask)
            for number, proposed in ((1, first), (2, second))
            for name, (image_id, mask) in proposed.items()
        }
        with open_window(chromium) as page:
            person = Person(page, pictures=picture_folders(folder))
            person.log_in(label_studio.url, label_studio.email, label_studio.password)
            yield Desk(person, store, client, project, label_studio.email, images)


def picture_folders(folder: Path) -> list[Path]:
    wanted = os.environ.get("PLANKSEG_SCREENSHOTS")
    folders = [folder / "pictures", *([Path(wanted)] if wanted else [])]
    for path in folders:
        path.mkdir(parents=True, exist_ok=True)
    return folders


def odd_images() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Noise of odd sizes, each with a mask as no hand draws it: a disc with holes, specks, and paint at all corners."""
    rng = np.random.default_rng(0)
    images = {}
    for name in ODD_SIZES:
        width, height = map(int, name.split("x"))
        rows, columns = np.mgrid[:height, :width]
        disc = ((rows + 0.5) / height - 0.5) ** 2 + ((columns + 0.5) / width - 0.5) ** 2 < 0.35**2
        mask = disc ^ (rng.random((height, width)) < 0.02)
        mask[[0, 0, -1, -1], [0, -1, 0, -1]] = True
        images[name] = (rng.integers(60, 255, (height, width), dtype=np.uint8), mask)
    return images


def samples(names: tuple[str, ...], *, first_seed: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Synthetic vignettes, cut to 3 : 2 so that all of each fits into the window, with their exact masks as pre-masks."""
    images = {}
    for seed, name in enumerate(names, first_seed):
        sample = draw_sample("noisy", seed, max_side_px=120)
        images[name] = (fit(sample.grey), fit(sample.mask.astype(np.uint8)).astype(bool))
    return images


def fit(picture: np.ndarray) -> np.ndarray:
    return cv2.resize(picture, (150, 100), interpolation=cv2.INTER_NEAREST)


def propose(
    store: Store, folder: Path, images: dict[str, tuple[np.ndarray, np.ndarray]], *, round_number: int
) -> dict[str, tuple[str, np.ndarray]]:
    """Put images into the catalogue and propose them, as a round with a model would have done."""
    catalogue, proposals, ids = [], [], {}
    for name, (grey, mask) in images.items():
        data = encode_grey(grey)
        path = folder / f"{name}.png"
        path.write_bytes(data)
        height, width = grey.shape
        image_id = sha256_of(data)
        catalogue.append(
            ImageRow(image_id=image_id, uri=str(path), dataset="walk", role="pool", width=width, height=height)
        )
        proposals.append(
            ProposalRow(
                round=round_number,
                image_id=image_id,
                chosen=True,
                batch=0,
                uncertainty=0.5,
                premask_sha=store.blobs.put(encode_mask(mask), "png"),
                model_id=sha256_of(b"no model"),
                manifest_sha=sha256_of(b"no manifest"),
                seed=0,
            )
        )
        ids[name] = (image_id, mask)
    store.catalogue.add(catalogue)
    store.proposals.commit(round_number, proposals)
    return ids


def out_of(mask: np.ndarray) -> list[tuple[float, float]]:
    """A path with a corner, from the object's middle over its edge to where nothing is, in image pixels (x, y)."""
    height, width = mask.shape
    row, column = np.argwhere(mask).mean(axis=0)
    return [(float(column), float(row)), (width * 0.12, float(row)), (width * 0.12, height * 0.2)]


def check_where(changed: np.ndarray, stroke: Stroke, *, could_change: np.ndarray) -> None:
    """All of the stroke's core changed, nothing out of its reach did."""
    core = stroke.core(changed.shape) & could_change
    assert core.sum() > 100, "the stroke covers too little to prove anything"
    assert changed[core].all(), f"{(core & ~changed).sum()} pixels under the stroke did not change"
    elsewhere = changed & ~(stroke.reach(changed.shape) & could_change)
    assert not elsewhere.any(), f"{elsewhere.sum()} pixels changed where no stroke was: {np.argwhere(elsewhere)[:5]}"


@pytest.mark.parametrize("name", ODD_SIZES)
def test_a_mask_accepted_unchanged_comes_back_with_no_pixel_different(desk: Desk, name: str) -> None:
    pushed = desk.open(name)
    desk.person.look(f"opened-{name}")
    desk.person.submit()
    row = desk.collect(pushed)
    assert (row.origin, row.status, row.changed_px, row.dice_to_premask) == ("accepted", "usable", 0, 1.0)
    np.testing.assert_array_equal(desk.stored_mask(row), pushed.premask)


def test_a_stroke_on_the_chosen_mask_changes_it_exactly_there(desk: Desk) -> None:
    pushed = desk.open("brushed")
    desk.person.look("brush-1-opened")
    desk.person.choose_mask()
    stroke = desk.person.paint(out_of(pushed.premask))
    desk.person.look("brush-2-after-stroke")
    desk.person.submit()
    desk.person.look("brush-3-after-submit")
    row = desk.collect(pushed)
    changed = desk.stored_mask(row) ^ pushed.premask
    assert (row.origin, row.status, row.changed_px) == ("corrected", "usable", changed.sum())
    check_where(changed, stroke, could_change=~pushed.premask)


def test_paint_beside_the_chosen_mask_is_united_with_it(desk: Desk) -> None:
    pushed = desk.open("painted beside")
    desk.person.choose_label()
    stroke = desk.person.paint(out_of(pushed.premask))
    desk.person.regions.nth(1).wait_for()
    desk.person.look("second-region")
    desk.person.submit()
    row = desk.collect(pushed)
    changed = desk.stored_mask(row) ^ pushed.premask
    assert (row.origin, row.status, row.changed_px) == ("corrected", "usable", changed.sum())
    check_where(changed, stroke, could_change=~pushed.premask)


def test_the_eraser_takes_away_exactly_its_stroke(desk: Desk) -> None:
    pushed = desk.open("erased")
    desk.person.choose_mask()
    stroke = desk.person.erase(out_of(pushed.premask))
    desk.person.look("erased")
    desk.person.submit()
    row = desk.collect(pushed)
    changed = desk.stored_mask(row) ^ pushed.premask
    assert (row.origin, row.status, row.changed_px) == ("corrected", "usable", changed.sum())
    check_where(changed, stroke, could_change=pushed.premask)


def test_a_deleted_mask_is_stored_as_an_empty_one(desk: Desk) -> None:
    pushed = desk.open("deleted")
    desk.person.delete_mask()
    desk.person.look("deleted")
    desk.person.submit()
    row = desk.collect(pushed)
    assert (row.origin, row.status, row.changed_px) == ("empty", "usable", pushed.premask.sum())
    assert not desk.stored_mask(row).any()


def test_an_image_called_unusable_is_stored_without_a_mask(desk: Desk) -> None:
    pushed = desk.open("unusable")
    desk.person.call_unusable()
    desk.person.look("unusable")
    desk.person.submit()
    row = desk.collect(pushed)
    assert (row.status, row.mask_sha, row.changed_px) == ("unusable", None, None)


def test_the_label_stream_of_a_round_shows_premasks_and_a_skip_stores_no_mask(desk: Desk) -> None:
    taken, skipped = (desk.images[name] for name in STREAMED)
    tab = desk.client.ensure_tab(desk.project, "Round 2", 2)
    stream = f"{desk.client.tab_url(desk.project, tab)}&labeling=1"
    desk.person.open(stream, mask=taken.premask)
    desk.person.look("stream-1-opened")
    desk.person.submit()
    desk.person.open(stream, mask=skipped.premask)
    desk.person.look("stream-2-next")
    desk.person.skip()
    row = desk.collect(taken)
    assert (row.origin, row.status, row.changed_px) == ("accepted", "usable", 0)
    row = desk.collect(skipped)
    assert (row.status, row.mask_sha, row.changed_px) == ("skipped", None, None)
