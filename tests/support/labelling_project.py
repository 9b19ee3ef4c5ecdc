"""A Label Studio with a project of a test's own, and small images to push into it."""

import io
import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

from plankseg.labelling.api.client import LabelStudioClient
from plankseg.labelling.api.data_manager import round_filter
from plankseg.labelling.api.protocol import LabelStudio
from plankseg.labelling.api.tasks import PushItem

CONFIG = (Path(__file__).parents[2] / "label_studio" / "labeling_config.xml").read_text()
TITLES = count()


@contextmanager
def second_person(server: Any, email: str) -> Iterator[httpx.Client]:
    """Another person's browser, signed up by the link that Label Studio's *People* page gives."""
    with httpx.Client(base_url=server.url, headers={"Authorization": f"Token {server.token}"}) as owner:
        link = owner.get("/api/invite").raise_for_status().json()["invite_url"]
    with httpx.Client(base_url=server.url, follow_redirects=True, headers={"Referer": server.url}) as browser:
        page = browser.get(link).raise_for_status().text
        form = {"csrfmiddlewaretoken": re.findall('csrfmiddlewaretoken" value="([^"]+)"', page)[0]}
        form |= {"email": email, "password": secrets.token_urlsafe(12), "how_find_us": "a colleague", "elaborate": ""}
        browser.post(link, data=form).raise_for_status()
        assert browser.get("/api/current-user/whoami").json()["email"] == email
        browser.headers["X-CSRFToken"] = browser.cookies["csrftoken"]
        yield browser


def label_stream_of(browser: httpx.Client, project: int, round: int) -> Iterator[int]:
    """The tasks that *Label All Tasks* shows a person in a round's tab, one after the other, until there is none."""
    body = {"filters": round_filter(round), "ordering": ["-tasks:predictions_score"]}
    while True:
        answer = browser.post("/api/dm/actions", params={"project": project, "id": "next_task"}, json=body)
        if answer.status_code == httpx.codes.NOT_FOUND:
            return
        yield int(answer.raise_for_status().json()["id"])


@dataclass(frozen=True)
class Bench:
    """A Label Studio with a project of this test's own, and what only a person's browser does."""

    ls: LabelStudio
    project: int
    save_draft: Callable[[int, list[dict[str, Any]]], None]
    label_stream: Callable[[int], dict[str, Any]] | None = None


def live_bench(server: Any) -> Iterator[Bench]:
    with (
        LabelStudioClient(server.url, server.token) as client,
        httpx.Client(base_url=server.url, headers={"Authorization": f"Token {server.token}"}) as browser,
    ):
        project = client.ensure_project(f"test {os.getpid()} {next(TITLES)}", CONFIG)

        def save_draft(task_id: int, result: list[dict[str, Any]]) -> None:
            browser.post(f"/api/tasks/{task_id}/drafts", json={"result": result, "lead_time": 3}).raise_for_status()

        def label_stream(round: int) -> dict[str, Any]:
            """The task that 'Label all tasks' would show next in a round's tab."""
            body = {"filters": round_filter(round)}
            answer = browser.post("/api/dm/actions", params={"project": project, "id": "next_task"}, json=body)
            return answer.raise_for_status().json()

        yield Bench(ls=client, project=project, save_draft=save_draft, label_stream=label_stream)
        browser.delete(f"/api/projects/{project}/").raise_for_status()


def png(shape: tuple[int, int], seed: int = 0) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, shape, dtype=np.uint8)).save(out, "PNG")
    return out.getvalue()


def disc(shape: tuple[int, int], share: float = 0.3) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]]
    return ((y + 0.5) / shape[0] - 0.5) ** 2 + ((x + 0.5) / shape[1] - 0.5) ** 2 < share**2


def item(image_id: str, *, shape: tuple[int, int] = (24, 40), premask: Any = "disc", **changes: Any) -> PushItem:
    mask = disc(shape) if isinstance(premask, str) else premask
    fields: dict[str, Any] = {"model_id": "m0", "score": 0.5, "taxon": "Copepoda"} | changes
    return PushItem(image_id=image_id, png=png(shape), premask=mask, **fields)
