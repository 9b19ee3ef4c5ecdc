"""A person's hand in Label Studio: log in, open tasks, paint, erase, submit, skip.

The real interface in headless Chromium; points are given in image pixels, x from the left and y from the top.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Locator, Page, sync_playwright

from plankseg.labelling.api.client import LabelStudioClient
from tests.support.screens import not_for_people_in

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
WINDOW = {"width": 1280, "height": 900}
PATIENCE_MS = 120_000  # for one step, on a machine that does much else

BLUR_PX = 0.75  # edges are anti-aliased, and points are rounded to the screen's pixels; 0.42 was the most seen

# The image of this size is there, with red paint on one of the stage's canvases at a point (in shares of the size).
PAINT_IS_SHOWN = """({width, height, x, y}) => {
    const image = document.querySelector(".lsf-image img");
    if (image?.naturalWidth !== width || image.naturalHeight !== height) return false;
    const place = image.getBoundingClientRect();
    return [...document.querySelectorAll(".konvajs-content canvas")].some((canvas) => {
        const stage = canvas.getBoundingClientRect();
        if (!stage.width || !canvas.width) return false;
        const density = canvas.width / stage.width;
        const across = (place.left + x * place.width - stage.left) * density;
        const down = (place.top + y * place.height - stage.top) * density;
        const [red, green, , alpha] = canvas.getContext("2d").getImageData(across, down, 1, 1).data;
        return alpha > 0 && red > green + 40;
    });
}"""
SIZE_OF_TOOL = """(name) => {
    const tools = Htx.annotationStore.selected.names.get("image").getToolsManager().allTools();
    return tools.find((tool) => tool.selected && tool.toolName === name)?.strokeWidth ?? null;
}"""
IMAGE_IS_SHOWN = """({width, height}) => {
    const image = document.querySelector(".lsf-image img");
    return image?.naturalWidth === width && image.naturalHeight === height;
}"""
WORDS_AND_FIELDS = """() => [
    document.body.innerText, ...[...document.querySelectorAll("input, textarea")].map((field) => field.value)
].join("\\n")"""
SHOWN = "() => JSON.parse(JSON.stringify(Htx.annotationStore.selected.serializeAnnotation()))"
SELECTED_TOOL = (
    """() => Htx.annotationStore.selected.names.get("image").getToolsManager().findSelectedTool()?.fullName"""
)
ANOTHER_TASK = "(last) => window.Htx?.task && Htx.task.id !== last ? Htx.task.id : null"
IS_ON_THE_STAGE = '([x, y]) => Boolean(document.elementFromPoint(x, y)?.closest(".konvajs-content"))'


LABEL_ALL = re.compile(r"^Label (All|\d+) Tasks?$")


@dataclass(frozen=True)
class Stroke:
    """One pull of the brush: the path's corners and half the brush's width, in image pixels."""

    points: tuple[tuple[float, float], ...]
    radius_px: float

    def core(self, shape: tuple[int, int]) -> np.ndarray:
        """Pixels that the stroke certainly covers."""
        return self._distance(shape) <= self.radius_px - BLUR_PX

    def reach(self, shape: tuple[int, int]) -> np.ndarray:
        """Pixels that the stroke may have touched."""
        return self._distance(shape) <= self.radius_px + BLUR_PX

    def _distance(self, shape: tuple[int, int]) -> np.ndarray:
        """From each pixel's centre to the path."""
        rows, columns = np.mgrid[: shape[0], : shape[1]] + 0.5
        centres = np.stack([columns, rows], axis=-1)
        nearest = np.full(shape, np.inf)
        for start, end in zip(np.array(self.points[:-1]), np.array(self.points[1:]), strict=True):
            along = end - start
            share = np.clip((centres - start) @ along / (along @ along), 0, 1)[..., None]
            nearest = np.minimum(nearest, np.linalg.norm(centres - start - share * along, axis=-1))
        return nearest


class Person:
    """Somebody who is signed in and corrects masks, by the keys and clicks that the labelling page names."""

    def __init__(self, page: Page, *, pictures: Sequence[Path]) -> None:
        self.page = page
        self._pictures = pictures
        self._shown: int | None = None
        self.stumbled: list[tuple[str, str]] = []
        """Long ids and long numbers, each with the name of the picture on which it is."""

    def log_in(self, url: str, email: str, password: str) -> None:
        self.page.goto(f"{url}/user/login/")
        self.page.fill("input[name=email]", email)
        self.page.fill("input[name=password]", password)
        self.page.click("button[type=submit]")
        self.page.wait_for_url(lambda address: "/user/login" not in address)

    def open(self, url: str, *, mask: np.ndarray) -> None:
        """Go to a task and wait until its pre-mask is to be seen in the middle of where it must be."""
        self.page.goto(url)
        self.wait_for_mask(mask)

    def next_task(self, url: str | None = None) -> int:
        """Id of the task that the label stream shows: the first one at an address, else the one after the last."""
        if url:
            self.page.goto(url)
            self._shown = None
        self._shown = self.page.wait_for_function(ANOTHER_TASK, arg=self._shown).json_value()
        return int(self._shown)

    def label_all(self, tab: str) -> int:
        """Press *Label All Tasks* on the page of a tab; the id of the task that is shown."""
        self.page.goto(tab)
        self.page.get_by_role("button", name=LABEL_ALL).first.click()
        self._shown = None
        return self.next_task()

    def wait_for_mask(self, mask: np.ndarray) -> None:
        self.regions.first.wait_for()
        painted = np.argwhere(mask)
        row, column = painted[np.linalg.norm(painted - painted.mean(axis=0), axis=1).argmin()]
        height, width = mask.shape
        spot = {"width": width, "height": height, "x": (column + 0.5) / width, "y": (row + 0.5) / height}
        self.page.wait_for_function(PAINT_IS_SHOWN, arg={key: float(value) for key, value in spot.items()})
        self._wait_until_still()

    @property
    def regions(self) -> Locator:
        """The masks in the list beside the image."""
        return self.page.locator(".lsf-outliner-item__title")

    def choose_mask(self) -> None:
        self.regions.first.click()
        self.page.locator(".lsf-tree-node-selected, [class*=treenode-selected]").first.wait_for()

    def delete_mask(self) -> None:
        self.choose_mask()
        self.page.keyboard.press("Backspace")
        self.regions.first.wait_for(state="detached")

    def choose_label(self) -> None:
        self.page.keyboard.press("1")

    def click(self, x: float, y: float, *, remove: bool = False, patience_ms: int = PATIENCE_MS) -> None:
        """Ask the assistant for what is missing at a point, or for what is too much, and wait until it has answered."""
        self.take_clicks()
        box, scale = self._box(), self._scale()
        with self.page.expect_response(
            lambda response: "/interactive-annotating" in response.url, timeout=patience_ms
        ) as arrived:
            if remove:
                self.page.keyboard.down("Alt")
            self.page.mouse.click(box["x"] + x * scale, box["y"] + y * scale)
            if remove:
                self.page.keyboard.up("Alt")
        assert arrived.value.ok, arrived.value.text()
        self.wait_for_answer()

    def click_without_waiting(self, x: float, y: float) -> None:
        box, scale = self._box(), self._scale()
        self.page.mouse.click(box["x"] + x * scale, box["y"] + y * scale)

    def wait_for_answer(self) -> None:
        """Until no click waits for the assistant, and none is left on the screen."""
        self.page.wait_for_function(
            "() => !Htx.awaitingSuggestions && Htx.annotationStore.selected.regions.every((region) => !region.dynamic)"
        )
        self.page.wait_for_timeout(300)  # the answer's mask is drawn from an image that the browser decodes

    def take_clicks(self) -> None:
        """Take the tool whose clicks ask the assistant."""
        for _ in range(4):
            if self.page.evaluate(SELECTED_TOOL) == "KeyPointTool-dynamic":
                return
            self.page.keyboard.press("m")
            self.page.wait_for_timeout(200)
        raise AssertionError(f"M does not take the clicks: {self.page.evaluate(SELECTED_TOOL)}")

    def wait_for_image(self, shape: tuple[int, int]) -> None:
        """Until an image of this size (h, w) is on the screen and keeps its place."""
        wanted = {"width": shape[1], "height": shape[0]}
        self.page.wait_for_function(IMAGE_IS_SHOWN, arg=wanted)
        self._wait_until_still()

    def draw_box(self, left: float, top: float, right: float, bottom: float) -> None:
        """Ask the assistant for the object in a box."""
        box, scale = self._box(), self._scale()
        corners = [(box["x"] + x * scale, box["y"] + y * scale) for x, y in ((left, top), (right, bottom))]
        for _ in range(2):  # the first press takes clicks, the second boxes
            if self.page.evaluate(SELECTED_TOOL) != "RectangleTool-dynamic":
                self.page.keyboard.press("m")
                self.page.wait_for_timeout(200)
        with self.page.expect_response(lambda response: "/interactive-annotating" in response.url):
            self.page.mouse.move(*corners[0])
            self.page.mouse.down()
            self.page.mouse.move(*corners[1], steps=8)
            self.page.mouse.up()
        self.wait_for_answer()

    def outline(self, points: Sequence[tuple[float, float]]) -> None:
        """Draw an outline, corner by corner, and close it on its first one."""
        self.page.keyboard.press("2")
        before = self.regions.count()
        box, scale = self._box(), self._scale()
        for x, y in [*points, points[0]]:
            self.page.mouse.click(box["x"] + x * scale, box["y"] + y * scale)
            self.page.wait_for_timeout(350)  # two clicks at once would be a double click
        self.regions.nth(before).wait_for()

    def shown(self) -> list[dict[str, Any]]:
        """The regions of the annotation on the screen, as Label Studio would send them now."""
        found: list[dict[str, Any]] = self.page.evaluate(SHOWN)
        return found

    def call_unusable(self) -> None:
        self.page.keyboard.press("u")
        self.page.locator("input[type=checkbox][name=unusable]:checked").wait_for()

    def paint(self, points: Sequence[tuple[float, float]], *, width_px: int = 30) -> Stroke:
        """Draw with the brush, so many screen pixels wide."""
        return self._draw("BrushTool", "b", points, width_px=width_px)

    def erase(self, points: Sequence[tuple[float, float]], *, width_px: int = 30) -> Stroke:
        """Draw with the eraser, so many screen pixels wide."""
        return self._draw("EraserTool", "e", points, width_px=width_px)

    def which_image(self) -> str:
        """What is told about the image on the screen: its number in the round, taxon and file."""
        told = self.page.locator(".plankseg-which")
        told.wait_for()
        return told.inner_text()

    def submit(self) -> None:
        with self._answer_arrives():
            self.page.keyboard.press("Control+Enter")

    def wait_until_saved(self, mask: np.ndarray) -> None:
        """Outside the label stream the task stays on the screen, and its answer can be changed."""
        self.page.get_by_text("Update", exact=True).wait_for()
        self.wait_for_mask(mask)

    def skip(self) -> None:
        with self._answer_arrives():
            self.page.keyboard.press("Control+Space")

    def look(self, name: str) -> None:
        """Keep a picture of what is on the screen, and note what in its words is not for people."""
        for folder in self._pictures:
            self.page.screenshot(path=folder / f"{name}.png")
        self.stumbled += [(name, found) for found in not_for_people_in(self.page.evaluate(WORDS_AND_FIELDS))]

    def hidden_corners(self) -> list[tuple[float, float]]:
        """Those corners of the image, in the window, that no brush can reach: cut off, scrolled away or covered."""
        box, inside = self._box(), 2
        left, right = box["x"] + inside, box["x"] + box["width"] - inside
        top, bottom = box["y"] + inside, box["y"] + box["height"] - inside
        corners = [(x, y) for x in (left, right) for y in (top, bottom)]
        return [corner for corner in corners if not self.page.evaluate(IS_ON_THE_STAGE, corner)]

    def _draw(self, tool: str, key: str, points: Sequence[tuple[float, float]], *, width_px: int) -> Stroke:
        self._take(tool, key, width_px=width_px)
        box, scale = self._box(), self._scale()
        on_screen = [(box["x"] + x * scale, box["y"] + y * scale) for x, y in points]
        for position in on_screen:
            assert self.page.evaluate(IS_ON_THE_STAGE, position), f"{position} of the window is not the image: {box}"
        self.page.mouse.move(*on_screen[0])
        self.page.mouse.down()
        for position in on_screen[1:]:
            self.page.mouse.move(*position, steps=12)
        self.page.mouse.up()
        return Stroke(tuple(points), width_px / 2 / scale)

    def _take(self, tool: str, key: str, *, width_px: int) -> None:
        """Take a tool and make it so wide; its keys work a moment after it was taken, so look after each press."""
        self.page.keyboard.press(key)
        for _ in range(50):
            size = self.page.evaluate(SIZE_OF_TOOL, tool)
            if size == width_px:
                return
            if size is not None:
                self.page.keyboard.press("]" if size < width_px else "[")
            self.page.wait_for_timeout(20)
        raise AssertionError(f"{tool} is {size} px wide after 50 looks; {width_px} px were wanted")

    def _box(self) -> Any:
        """Where the image is in the window."""
        return self._image.bounding_box()

    def _scale(self) -> float:
        """Screen pixels per image pixel."""
        natural = self._image.evaluate("image => image.naturalWidth")
        return float(self._box()["width"] / natural)

    @property
    def _image(self) -> Locator:
        return self.page.locator(".lsf-image img")

    def _wait_until_still(self) -> None:
        """The image is laid out anew when its tools appear: wait until it keeps its place for half a second."""
        place, same = self._box(), 0
        while same < 5:
            self.page.wait_for_timeout(100)
            same = same + 1 if self._box() == place else 0
            place = self._box()

    @contextmanager
    def _answer_arrives(self) -> Iterator[None]:
        def is_answer(response: Any) -> bool:
            return response.request.method == "POST" and "/annotations" in response.url

        with self.page.expect_response(is_answer) as arrived:
            yield
        assert arrived.value.status == 201, f"Label Studio answered {arrived.value.status}: {arrived.value.text()}"


def task_page(client: LabelStudioClient, project: int, task_id: int) -> str:
    """The page on which a person answers this task."""
    return f"{client._url}/projects/{project}/data?task={task_id}"


def tab_page(client: LabelStudioClient, project: int, tab: int) -> str:
    """The page of a tab of the data manager."""
    return f"{client._url}/projects/{project}/data?tab={tab}"


def find_chromium() -> str | None:
    """Path of an installed Chromium; Playwright is never asked to download one."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


@contextmanager
def open_window(chromium: str) -> Iterator[Page]:
    """An empty window of a browser with a profile of its own."""
    with tempfile.TemporaryDirectory() as profile, sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            profile, executable_path=chromium, args=FLAGS.split(), headless=True, viewport=WINDOW
        )
        context.set_default_timeout(PATIENCE_MS)
        yield context.pages[0]
        context.close()


def picture_folders(folder: Path) -> list[Path]:
    wanted = os.environ.get("PLANKSEG_SCREENSHOTS")
    folders = [folder / "pictures", *([Path(wanted)] if wanted else [])]
    for path in folders:
        path.mkdir(parents=True, exist_ok=True)
    return folders


def out_of(mask: np.ndarray) -> list[tuple[float, float]]:
    """A path with a corner, from the object's middle over its edge to where nothing is, in image pixels (x, y)."""
    height, width = mask.shape
    row, column = np.argwhere(mask).mean(axis=0)
    return [(float(column), float(row)), (width * 0.12, float(row)), (width * 0.12, height * 0.2)]
