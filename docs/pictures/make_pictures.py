"""The pictures of README, made from a finished demo: what its store holds and what its two web interfaces show.

`make pictures` runs it on the folder `demo`; `make pictures DIR=other` on another. It starts the folder's servers, asks
for nothing and answers nothing. Every image in the pictures is synthetic.
"""

import argparse
from pathlib import Path
from statistics import median

from playwright.sync_api import Page

from plankseg import local_servers
from plankseg.imaging.arrays import Rgb
from plankseg.imaging.masks import decode_mask
from plankseg.imaging.pictures.overlay import CORRECTION, GalleryRow, encode_rgb, gallery, outline
from plankseg.labelling.api.client import LabelStudioClient
from plankseg.pipeline.loop.effort import effort_of
from plankseg.pipeline.models.recipes import recipe_in_force
from plankseg.pipeline.reports.effort_plot import plot
from plankseg.pipeline.reports.round_report import name_of, plain_picture
from plankseg.storage.store import Store
from plankseg.storage.tables.labels import LabelRow
from tests.support.run_form import log_in_to_prefect
from tests.support.ui_walk import Person, find_chromium, open_window

MAX_BYTES = 150_000  # README must open quickly; tests/test_docs.py holds the pictures of the repository to it
PROJECT = "plankseg"
ROUND = 1  # whose answers are shown
QUALITY = 88  # of a screenshot, as a JPEG: a third of the bytes, and no difference that one sees
PATIENCE_MS = 180_000  # the first page of a server on a busy machine
LEFT_LIST_PX = 240  # Label Studio's list of tasks, which is cut off


def examples(store: Store) -> list[LabelRow]:
    """Two corrected answers of different taxa, those whose Dice to the pre-mask is nearest to the round's median."""
    rows = [row for row in store.labels.answered(ROUND) if row.dice_to_premask is not None and row.mask_sha]
    typical = median(row.dice_to_premask or 0.0 for row in rows)
    ordered = sorted(rows, key=lambda row: (abs((row.dice_to_premask or 0.0) - typical), row.image_id))
    by_taxon: dict[str | None, LabelRow] = {}
    for row in ordered:
        by_taxon.setdefault(store.catalogue.row(row.image_id).taxon, row)
    return list(by_taxon.values())[:2]


def way_of_one_image(store: Store) -> Rgb:
    """Vignette, pre-mask and correction of the examples, side by side."""
    titles = ("vignette", "pre-mask", "correction")
    return gallery([_way(store, row) for row in examples(store)], titles=titles, cell_px=160, across=2)


def _way(store: Store, row: LabelRow) -> GalleryRow:
    grey = store.catalogue.load(row.image_id)
    premask, mask = (decode_mask(store.blobs.get(str(sha), "png")) for sha in (row.premask_sha, row.mask_sha))
    pictures = (plain_picture(grey), outline(grey, premask), outline(grey, mask, colour=CORRECTION))
    caption = f"{name_of(store, row.image_id)}: Dice of pre-mask to correction {row.dice_to_premask:.2f}"
    return GalleryRow(pictures, caption)


def effort_picture(store: Store) -> bytes:
    """The effort plot, as the artifact of the Prefect UI shows it."""
    return plot(effort_of(store, redrawn_below=recipe_in_force(store).rounds.redrawn_below))


def prefect_picture(page: Page, url: str, login: str, round_number: int) -> bytes:
    """The gallery of a round on the page of its artifact."""
    page.set_viewport_size({"width": 1180, "height": 700})
    log_in_to_prefect(page, url, login)
    page.goto(f"{url}/artifacts/key/round-{round_number}-gallery")
    page.locator("a[href*='/artifacts/artifact/']").first.click()
    page.locator("img[src^='data:image']").first.wait_for()
    page.wait_for_timeout(3000)  # fonts and icons
    return page.screenshot(type="jpeg", quality=QUALITY, clip={"x": 0, "y": 0, "width": 1060, "height": 624})


def label_studio_picture(page: Page, url: str, credentials: local_servers.Credentials, store: Store) -> bytes:
    """An example as it stands in its task, with the tools beside it."""
    page.set_viewport_size({"width": 960, "height": 700})
    person = Person(page, pictures=[])
    person.log_in(url, credentials.email, credentials.password)
    row = examples(store)[0]
    with LabelStudioClient(url, credentials.token) as client:
        project = client.find_project(PROJECT)
        if project is None:
            raise SystemExit(f"Label Studio has no project {PROJECT!r}: the demo did not get so far. Run make demo.")
    mask = decode_mask(store.blobs.get(str(row.mask_sha), "png"))
    person.open(f"{url}/projects/{project}/data?task={row.ls_task}", mask=mask)
    return page.screenshot(
        type="jpeg", quality=QUALITY, clip={"x": LEFT_LIST_PX, "y": 0, "width": 960 - LEFT_LIST_PX, "height": 700}
    )


def screenshots(settings: local_servers.ServerSettings, store: Store) -> dict[str, bytes]:
    """Serve what the demo left and take the pictures of both web interfaces."""
    chromium = find_chromium()
    if chromium is None:
        raise SystemExit("No Chromium on this machine: run tests/install-chromium.sh as root.")
    credentials = local_servers.ensure_credentials(settings.directory)
    with (
        local_servers.holding(settings.directory),
        local_servers.start_prefect(settings) as prefect,
        local_servers.start_label_studio(settings) as label_studio,
        open_window(chromium) as page,
    ):
        page.set_default_timeout(PATIENCE_MS)
        prefect.wait()
        label_studio.wait()
        return {
            "prefect-round.jpg": prefect_picture(
                page, settings.prefect_url, credentials.prefect_login, max(store.proposals.rounds())
            ),
            "label-studio.jpg": label_studio_picture(page, settings.label_studio_url, credentials, store),
        }


def main() -> None:
    """Make all pictures, and write them if each is small enough."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directory", type=Path, default=Path("demo"), help="a finished demo's folder")
    parser.add_argument("--to", type=Path, default=Path(__file__).parent, help="where the pictures are written")
    given = parser.parse_args()
    directory = given.directory.resolve()
    if not (directory / "store").is_dir():
        raise SystemExit(f"{directory} holds no finished demo: run make demo first, or name its folder by DIR=.")
    store = Store.open(str(directory / "store"))
    settings = local_servers.ServerSettings(directory, local_servers.free_port(), local_servers.free_port())
    pictures = {
        "way-of-one-image.png": encode_rgb(way_of_one_image(store)),
        "effort.png": effort_picture(store),
        **screenshots(settings, store),
    }
    given.to.mkdir(parents=True, exist_ok=True)
    for name, data in pictures.items():
        if len(data) > MAX_BYTES:
            raise SystemExit(f"{name} has {len(data):,} bytes, more than {MAX_BYTES:,}: lower QUALITY or the size.")
        (given.to / name).write_bytes(data)
        print(f"{given.to / name}: {len(data):,} bytes")


if __name__ == "__main__":
    main()
