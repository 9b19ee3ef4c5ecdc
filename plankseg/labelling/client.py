"""How do we talk to Label Studio? The only place that does: its SDK's transport and tokens, our own errors and retries.

The SDK repeats POSTs that got no answer, which makes two tasks of one, and its typed models lose a whole page over one
malformed answer. So its retries are off, only reads are repeated here, and the JSON stays as the server sent it.
"""

import json
import logging
import re
import time
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, Self

import httpx
from typing_extensions import override

from plankseg.errors import LabelStudioAuthError, LabelStudioDownError, LabelStudioError, SettingsError
from plankseg.labelling.protocol import LabelStudio
from plankseg.labelling.tabs import round_filter, round_tab
from plankseg.labelling.tasks import Task, config_gap

__all__ = ["LabelStudio", "LabelStudioClient"]

log = logging.getLogger(__name__)

READ_ATTEMPTS = 4
FIRST_WAIT_S = 0.25
READ_TIMEOUT_S = 30.0
WRITE_TIMEOUT_S = 120.0
PAGE = 100
UNAUTHORIZED, TOO_MANY, NO_CONTENT = 401, 429, 204
UPLOADS_PER_REQUEST = 50  # the server refuses more than 100 files in one request
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")  # what Label Studio keeps as it is
UPLOAD = re.compile(r"(?:.*/)?[0-9a-f]{8}-(?P<name>[^/]+)")


class LabelStudioClient(LabelStudio):
    """Label Studio over HTTP. `token` is of either kind: a legacy one, or a personal access token."""

    def __init__(self, url: str, token: str, *, first_wait_s: float = FIRST_WAIT_S) -> None:
        if not url.startswith(("http://", "https://")):
            raise SettingsError(f"PLANKSEG_LABEL_STUDIO_URL is {url!r}; it must start with http:// or https://.")
        self._url = url.rstrip("/")
        if not token.strip():
            raise self._refused("the token is empty")
        self._first_wait_s = first_wait_s
        from label_studio_sdk.base_client import LabelStudioBase  # costs a second: only who talks to a server pays
        from label_studio_sdk.core.api_error import ApiError

        self._api_error: type[Exception] = ApiError
        self._http = httpx.Client()
        try:
            sdk = LabelStudioBase(base_url=self._url, api_key=token.strip(), httpx_client=self._http, max_retries=0)
        except ApiError as error:  # a personal token that has expired is refused without asking the server
            raise self._refused(str(error.body)) from error
        self._transport = sdk._client_wrapper.httpx_client

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; afterwards the client is of no use."""
        self._http.close()

    @override
    def check(self) -> str:
        email = self._read("api/current-user/whoami")["email"]
        return f"Label Studio {self._read('api/version').get('release')}, signed in as {email}"

    @override
    def ensure_project(self, title: str, labeling_config: str) -> int:
        gap = config_gap(labeling_config)
        if gap:
            raise LabelStudioError(f"The labelling configuration cannot be used: {gap}.")
        found = [row for row in self._pages("api/projects/", "results", title=title) if row["title"] == title]
        if len(found) > 1:
            numbers = ", ".join(str(row["id"]) for row in found)
            raise LabelStudioError(f"Projects {numbers} are all named {title!r}; rename or delete all but one.")
        if found:
            gap = config_gap(found[0]["label_config"])
            if gap:
                raise LabelStudioError(
                    f"Project {found[0]['id']} ({title!r}) has another labelling configuration: {gap}. Paste "
                    "label_studio/labeling_config.xml into its settings, or set PLANKSEG_PROJECT to another title."
                )
            return int(found[0]["id"])
        body = {"title": title, "label_config": labeling_config, "show_skip_button": True}
        made = self._write("POST", "api/projects/", body | {"enable_empty_annotation": True, "maximum_annotations": 1})
        return int(made["id"])

    @override
    def upload_images(self, project: int, images: Mapping[str, bytes]) -> dict[str, str]:
        for name in images:
            if not SAFE_NAME.fullmatch(name):
                raise LabelStudioError(f"Image name {name!r} would be changed by Label Studio; use A-Z a-z 0-9 . _ -")
        there = self._uploads(project, images)
        missing = iter([name for name in images if name not in there])
        while batch := list(islice(missing, UPLOADS_PER_REQUEST)):
            files = {name: (name, images[name], "image/png") for name in batch}
            path = f"api/projects/{project}/import"
            self._json(self._send("POST", path, params={"commit_to_project": "false"}, files=files))
            there = self._uploads(project, images)
        lost = sorted(set(images) - set(there))
        if lost:
            raise LabelStudioError(f"{len(lost)} uploads did not arrive whole, the first is {lost[0]}; push again.")
        return there

    def _uploads(self, project: int, images: Mapping[str, bytes]) -> dict[str, str]:
        """Addresses of those images that lie in the project at their full size."""
        found = {}
        for row in self._read(f"api/projects/{project}/file-uploads", all="true"):
            match = UPLOAD.fullmatch(row["file"])
            name = match["name"] if match else ""
            if name in images and row["size"] == len(images[name]):
                found[name] = f"/data/{row['file']}"
        return found

    @override
    def list_tasks(self, project: int, round: int | None = None) -> list[Task]:
        asked: dict[str, Any] = {"project": project, "fields": "all"}  # `include` would cut the annotations short
        if round is not None:
            asked["query"] = json.dumps({"filters": round_filter(round)})
        tasks = self._pages("api/tasks/", "tasks", **asked)
        return sorted(tasks, key=lambda task: int(task["id"]))

    @override
    def import_tasks(self, project: int, tasks: Sequence[Task]) -> None:
        self._write("POST", f"api/projects/{project}/import", list(tasks))

    @override
    def delete_task(self, task_id: int) -> None:
        self._json(self._send("DELETE", f"api/tasks/{task_id}/"))

    @override
    def create_annotation(
        self,
        task_id: int,
        result: Sequence[Task],
        *,
        lead_time: float,
        was_cancelled: bool = False,
        parent_prediction: int | None = None,
    ) -> int:
        body = {"result": list(result), "lead_time": lead_time, "was_cancelled": was_cancelled}
        if parent_prediction is not None:
            body["parent_prediction"] = parent_prediction
        return int(self._write("POST", f"api/tasks/{task_id}/annotations/", body)["id"])

    @override
    def update_annotation(self, annotation_id: int, result: Sequence[Task], *, lead_time: float) -> None:
        body = {"result": list(result), "lead_time": lead_time, "was_cancelled": False}
        self._write("PATCH", f"api/annotations/{annotation_id}/", body)

    @override
    def ensure_tab(self, project: int, title: str, round: int) -> int:
        for tab in self._read("api/dm/views/", project=project):
            if tab["data"].get("title") == title:
                return int(tab["id"])
        body = {"project": project, "data": round_tab(title, round)}
        return int(self._write("POST", "api/dm/views/", body)["id"])

    @override
    def task_url(self, project: int, task_id: int) -> str:
        return f"{self._url}/projects/{project}/data?task={task_id}"

    @override
    def tab_url(self, project: int, tab: int) -> str:
        return f"{self._url}/projects/{project}/data?tab={tab}"

    def _pages(self, path: str, items: str, **params: Any) -> list[Any]:
        """All items of a paged list; past the last page the server answers 404, so its own count ends the walk."""
        rows: list[Any] = []
        page = 1
        while True:
            body = self._read(path, page=page, page_size=PAGE, **params)
            rows += body[items]
            if not body[items] or len(rows) >= (body["total"] if "total" in body else body["count"]):
                return rows
            page += 1

    def _read(self, path: str, **params: Any) -> Any:
        """GET; a few times where the server is away or stumbles."""
        waits = [self._first_wait_s * 2**attempt for attempt in range(READ_ATTEMPTS - 1)]
        for wait in waits:
            try:
                response = self._send("GET", path, params=params)
                if response.status_code < 500 and response.status_code != TOO_MANY:
                    return self._json(response)
            except LabelStudioDownError:
                log.warning("Label Studio does not answer %s; asking again in %.1f s", path, wait)
            time.sleep(wait)
        return self._json(self._send("GET", path, params=params))

    def _write(self, method: str, path: str, body: object) -> Any:
        """POST or PATCH, once: who does not know whether it arrived must look."""
        content, headers = json.dumps(body, allow_nan=False).encode(), {"Content-Type": "application/json"}
        return self._json(self._send(method, path, content=content, headers=headers))

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        """One request; LabelStudioDownError where no answer came."""
        seconds = READ_TIMEOUT_S if method == "GET" else WRITE_TIMEOUT_S
        try:
            response: httpx.Response = self._transport.request(
                path, method=method, request_options={"max_retries": 0, "timeout_in_seconds": seconds}, **request
            )
        except httpx.TransportError as error:
            raise LabelStudioDownError(
                f"Label Studio at {self._url} does not answer ({type(error).__name__}: {error}). "
                "Start it with `make up`, or set PLANKSEG_LABEL_STUDIO_URL to where it runs."
            ) from error
        except self._api_error as error:  # raised before our request, while a personal token is exchanged
            raise self._refused(str(getattr(error, "body", error))) from error
        except ValueError as error:
            raise self._puzzled(f"{method} {path}", str(error)) from error
        return response

    def _json(self, response: httpx.Response) -> Any:
        """The answer's JSON, or our own error with its status and the beginning of its body."""
        what, body = f"{response.request.method} {response.request.url.path}", response.text[:300]
        if response.status_code == UNAUTHORIZED:
            raise self._refused(body)
        if not response.is_success:
            raise self._puzzled(what, f"status {response.status_code}: {body}")
        if response.status_code == NO_CONTENT:
            return None
        try:
            return response.json()
        except ValueError as error:
            raise self._puzzled(what, f"no JSON: {body}") from error

    def _puzzled(self, what: str, answer: str) -> LabelStudioError:
        return LabelStudioError(
            f"Label Studio at {self._url} answered {what} with {answer}. "
            "Look into its log; if another program listens there, set PLANKSEG_LABEL_STUDIO_URL."
        )

    def _refused(self, answer: str) -> LabelStudioAuthError:
        return LabelStudioAuthError(
            f"Label Studio at {self._url} refuses the token in PLANKSEG_LABEL_STUDIO_TOKEN ({answer}). "
            "Copy a new one from Account & Settings in Label Studio."
        )
