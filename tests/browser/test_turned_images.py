"""A person paints on turned and wrongly named images of a bucket: the stored mask lies where the person painted."""

import io
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from plankseg.imaging.masks import decode_mask
from plankseg.labelling.api.client import LabelStudioClient
from plankseg.pipeline.annotation.collect_answers import collect
from plankseg.pipeline.annotation.connection import LABELING_CONFIG
from plankseg.pipeline.annotation.push_proposals import push
from plankseg.pipeline.ingest.register_images import ingest_folder
from plankseg.storage.s3.addresses import Address
from plankseg.storage.s3.objects import write
from plankseg.storage.store import Store
from tests.support.little_store import add_proposal, square
from tests.support.live_servers import LiveLabelStudio
from tests.support.s3_servers import S3Server
from tests.support.ui_walk import Person, find_chromium, open_window, picture_folders, task_page

pytestmark = [pytest.mark.live, pytest.mark.browser, pytest.mark.slow]
SHAPE = (90, 120)
BAR = (slice(14, 34), slice(12, 82))  # rows and columns of the dark object: every turn brings it elsewhere
BRUSH_PX = 30  # on the screen
ORIENTATIONS = {"plain.jpg": 1, "mirrored.jpg": 2, "upside-down.jpg": 3, "turned.jpg": 6, "turned-back.jpg": 8}


def picture(seed: int) -> Image.Image:
    """A dark bar near a corner of a light image, with noise so that every file has bytes of its own."""
    grey = np.random.default_rng(seed).integers(225, 245, SHAPE, dtype=np.uint8)
    grey[BAR] = 40
    return Image.fromarray(grey)


def files() -> dict[str, bytes]:
    """JPEGs in five EXIF orientations, a turned PNG, a TIFF that is called PNG, and a JPEG that is called PNG."""
    found = {}
    kinds = [(name, "JPEG", orientation) for name, orientation in ORIENTATIONS.items()]
    kinds += [("turned.png", "PNG", 6), ("tiff.png", "TIFF", 1), ("jpeg.png", "JPEG", 3)]
    for seed, (name, kind, orientation) in enumerate(kinds):
        exif = Image.Exif()
        exif[0x0112] = orientation
        data = io.BytesIO()
        picture(seed).save(data, kind, exif=exif, **({"quality": 95} if kind == "JPEG" else {}))
        found[name] = data.getvalue()
    return found


def seen_bar(person: Person) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of the bar as a picture of the screen shows it, in pixels of the shown image."""
    image = person.page.locator(".lsf-image img")
    width = image.evaluate("image => image.naturalWidth")
    box = image.bounding_box()
    assert box is not None
    shown = cv2.imdecode(np.frombuffer(person.page.screenshot(clip=box), np.uint8), cv2.IMREAD_GRAYSCALE)
    # Buttons of the page may lie over the image's rim: the bar is the largest dark thing.
    _, _, stats, _ = cv2.connectedComponentsWithStats((shown < 100).astype(np.uint8))
    left, top, across, down = stats[1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))][:4] * (width / shown.shape[1])
    return float(left), float(top), float(left + across), float(top + down)


def paint_over(person: Person, bar: tuple[float, float, float, float]) -> None:
    """Paint round the inside of a rectangle of the shown image."""
    inset = BRUSH_PX / 2 / person._scale() + 0.5
    left, top, right, bottom = bar[0] + inset, bar[1] + inset, bar[2] - inset, bar[3] - inset
    person.paint(
        [(left, top), (right, top), (right, bottom), (left, bottom), (left, top + 1)],
        width_px=BRUSH_PX,
    )


def test_a_mask_painted_on_a_turned_image_of_a_bucket_lies_on_the_object(
    label_studio: LiveLabelStudio, s3_server: S3Server, tmp_path: Path
) -> None:
    chromium = find_chromium()
    if chromium is None:
        pytest.skip("no Chromium on this machine: run tests/install-chromium.sh as root")
    below = Address(s3_server.new_bucket(), "pool")
    for name, data in files().items():
        write(below / name, data)
    store = Store.open(tmp_path / "store")
    assert ingest_folder(store, str(below), role="pool").added == len(files())
    images = {row.uri.rpartition("/")[2]: row for row in store.catalogue.rows(store.catalogue.ids("pool"))}
    add_proposal(store, 1, [row.image_id for row in images.values()], premask=square(SHAPE, 12))
    with LabelStudioClient(label_studio.url, label_studio.token) as client, open_window(chromium) as page:
        project = client.ensure_project(f"turned images {os.getpid()}", LABELING_CONFIG.read_text(encoding="utf-8"))
        tasks = push(store, client, project, round_number=1).tasks
        shown = {task["data"]["image_id"]: task["data"]["image"] for task in client.list_tasks(project, 1)}
        from_bucket = {name for name, row in images.items() if "/upload/" not in shown[row.image_id]}
        assert from_bucket == {"plain.jpg"}
        person = Person(page, pictures=picture_folders(tmp_path))
        person.log_in(label_studio.url, label_studio.email, label_studio.password)
        for name, row in images.items():
            person.open(task_page(client, project, tasks[row.image_id]), mask=square(SHAPE, 12))
            person.delete_mask()
            bar_shown = seen_bar(person)
            person.choose_label()
            paint_over(person, bar_shown)
            person.look(f"painted-{name}")
            person.submit()
            page.get_by_text("Update", exact=True).wait_for()
        assert collect(store, client, project).rounds[1].quarantined == ()
    bar = np.zeros(SHAPE, dtype=bool)
    bar[BAR] = True
    answers = {row.image_id: row for row in store.labels.answered(1)}
    for name, row in images.items():
        answer = answers[row.image_id]
        assert (answer.status, answer.origin) == ("usable", "corrected"), name
        mask = decode_mask(store.blobs.get(str(answer.mask_sha), "png"))
        assert mask.shape == SHAPE
        on_object = (mask & bar).sum() / mask.sum()
        assert on_object > 0.95, f"{name}: {on_object:.2f} of what was painted lies on the object"
        assert (mask & bar).sum() > 0.5 * bar.sum(), name
