"""Client of a Label Studio server: projects, uploads, tasks, answers and tabs through its HTTP API."""

import json
import re
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from typing_extensions import override

from plankseg.errors import LabelStudioError
from plankseg.labelling.api.data_manager import round_filter, round_tab, since_filter
from plankseg.labelling.api.interactive_backend import ASSISTANT, assistant_backend, is_registered
from plankseg.labelling.api.labeling_config import config_problem, upgraded_config
from plankseg.labelling.api.protocol import LabelStudio
from plankseg.labelling.api.tasks import PREMASK_VERSION, BucketAccess, Task
from plankseg.labelling.api.transport import Transport
from plankseg.labelling.api.webhook_payload import is_relay_webhook, relay_webhook

__all__ = ["LabelStudio", "LabelStudioClient"]

UPLOADS_PER_REQUEST = 50  # the server refuses more than 100 files in one request
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")  # names that Label Studio does not change
UPLOADED_FILE = re.compile(r"(?:.*/)?[0-9a-f]{8}-(?P<name>[^/]+)")


class LabelStudioClient(Transport, LabelStudio):
    """The `LabelStudio` protocol over HTTP."""

    @override
    def check(self) -> str:
        email = self._read("api/current-user/whoami")["email"]
        return f"Label Studio {self._read('api/version').get('release')}, signed in as {email}"

    @override
    def ensure_project(self, title: str, labeling_config: str) -> int:
        problem = config_problem(labeling_config)
        if problem:
            raise LabelStudioError(f"The labelling configuration cannot be used: {problem}.")
        found = self._project(title)
        if found:
            problem = config_problem(found["label_config"])
            if problem:
                raise LabelStudioError(
                    f"Project {found['id']} ({title!r}) has another labelling configuration: {problem}. Paste "
                    "label_studio/labeling_config.xml into its settings, or set PLANKSEG_PROJECT to another title."
                )
            upgraded = upgraded_config(found["label_config"], labeling_config)
            if upgraded != found["label_config"]:
                self._write("PATCH", f"api/projects/{found['id']}/", {"label_config": upgraded})
            return int(found["id"])
        body = {"title": title, "label_config": labeling_config, "show_skip_button": True}
        self._write("POST", "api/projects/", body | {"enable_empty_annotation": True, "maximum_annotations": 1})
        return self._first_of(title)

    @override
    def find_project(self, title: str) -> int | None:
        """Id of the project of that title, None while there is none; LabelStudioError if several have it."""
        found = self._project(title)
        return None if found is None else int(found["id"])

    def _first_of(self, title: str) -> int:
        """Id of the first project of a title that had none before; empty ones made beside it are deleted.

        A Label Studio that meets a locked database repeats the request, and has then made two; and another run may make
        one at the same time.
        """
        first, *others = sorted(self._titled(title), key=lambda row: int(row["id"]))
        for row in others:
            if not row["task_number"]:
                self._delete(f"api/projects/{row['id']}/")
        return int(first["id"])

    def _titled(self, title: str) -> list[dict[str, Any]]:
        return [row for row in self._pages("api/projects/", "results", title=title) if row["title"] == title]

    def _project(self, title: str) -> dict[str, Any] | None:
        found = self._titled(title)
        if len(found) > 1:
            numbers = ", ".join(str(row["id"]) for row in found)
            raise LabelStudioError(f"Projects {numbers} are all named {title!r}; rename or delete all but one.")
        return found[0] if found else None

    @override
    def fetch_image(self, address: str) -> bytes:
        path = address.removeprefix(self._url)
        if not path.startswith("/data/"):  # never fetch another address that a task names
            raise LabelStudioError(f"its image {address[:80]!r} does not lie in Label Studio; upload it there.")
        response = self._send("GET", path.lstrip("/"))
        if not response.is_success:
            self._json(response)
        return bytes(response.content)

    @override
    def upload_images(self, project: int, images: Mapping[str, bytes]) -> dict[str, str]:
        for name in images:
            if not SAFE_NAME.fullmatch(name):
                raise LabelStudioError(f"Image name {name!r} would be changed by Label Studio; use A-Z a-z 0-9 . _ -")
        uploaded = self._uploads(project, images)
        missing = iter([name for name in images if name not in uploaded])
        while batch := list(islice(missing, UPLOADS_PER_REQUEST)):
            files = {name: (name, images[name], "image/png") for name in batch}
            path = f"api/projects/{project}/import"
            self._json(self._send("POST", path, params={"commit_to_project": "false"}, files=files))
            uploaded = self._uploads(project, images)
        lost = sorted(set(images) - set(uploaded))
        if lost:
            raise LabelStudioError(f"{len(lost)} uploads did not arrive whole, the first is {lost[0]}; push again.")
        return uploaded

    def _uploads(self, project: int, images: Mapping[str, bytes]) -> dict[str, str]:
        """Addresses of the given images that the project holds at their full size."""
        found = {}
        for row in self._read(f"api/projects/{project}/file-uploads", all="true"):
            match = UPLOADED_FILE.fullmatch(row["file"])
            name = match["name"] if match else ""
            if name in images and row["size"] == len(images[name]):
                found[name] = f"/data/{row['file']}"
        return found

    @override
    def ensure_bucket(self, project: int, access: BucketAccess) -> None:
        body = {
            "project": project,
            "title": f"plankseg {access.bucket}",
            "bucket": access.bucket,
            "s3_endpoint": access.endpoint,
            "region_name": access.region,
            "presign": access.presign,
            "use_blob_urls": True,
        }
        if access.key is not None and access.secret is not None:
            body |= {"aws_access_key_id": access.key, "aws_secret_access_key": access.secret.get_secret_value()}
        rows = self._read("api/storages/s3", project=project)
        existing = [row["id"] for row in rows if row["title"] == body["title"]]
        path = f"api/storages/s3/{existing[0]}" if existing else "api/storages/s3"
        self._write("PATCH" if existing else "POST", path, body)

    @override
    def list_tasks(self, project: int, round: int | None = None) -> list[Task]:
        params: dict[str, Any] = {"project": project, "fields": "all"}  # `include` would cut the annotations short
        if round is not None:
            params["query"] = json.dumps({"filters": round_filter(round)})
        tasks = self._pages("api/tasks/", "tasks", **params)
        return sorted(tasks, key=lambda task: int(task["id"]))

    def count_tasks(self, project: int, *, since_round: int, open_only: bool) -> int:
        """Number of tasks of that round and of later ones, or of the open ones among them; reads no answers."""
        query = json.dumps({"filters": since_filter(since_round, open_only=open_only)})
        page = self._read("api/tasks/", project=project, page=1, page_size=1, fields="task_only", query=query)
        return int(page["total"])

    @override
    def import_tasks(self, project: int, tasks: Sequence[Task]) -> None:
        self._write("POST", f"api/projects/{project}/import", list(tasks))

    @override
    def add_premasks(self, project: int, predictions: Mapping[int, Task]) -> None:
        for task_id, prediction in predictions.items():
            self._write("POST", "api/predictions/", {"task": task_id, "project": project, **prediction})
        if not self._read(f"api/projects/{project}/")["model_version"]:  # else only an import with predictions sets it
            self._write("PATCH", f"api/projects/{project}/", {"model_version": PREMASK_VERSION})

    @override
    def ask_people(self, tasks: Sequence[int], people: int) -> None:
        for task_id in tasks:
            self._write("PATCH", f"api/tasks/{task_id}/", {"overlap": people})

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
    def ensure_tab(self, project: int, title: str, round: int | None) -> int:
        tabs = self._read("api/dm/views/", project=project)
        for tab in tabs:
            if tab["data"].get("title") == title:
                return int(tab["id"])
        body = {"project": project, "data": round_tab(title, round)}
        made = int(self._write("POST", "api/dm/views/", body)["id"])
        order = {"project": project, "ids": [made, *(int(tab["id"]) for tab in tabs)]}
        content, headers = json.dumps(order).encode(), {"Content-Type": "application/json"}
        response = self._send("POST", "api/dm/views/order/", content=content, headers=headers)
        if not response.is_success:  # its body is empty where it worked
            self._json(response)
        return made

    def ensure_webhook(self, project: int, url: str, secret: str) -> int:
        """Id of the project's one webhook to our relay, made, or brought to this address and secret.

        Raises LabelStudioError where the server refuses the address.
        """
        wanted = relay_webhook(project, url, secret)
        ours, *spare = [
            row for row in self._read("api/webhooks/", project=project) if is_relay_webhook(row, project)
        ] or [None]
        for row in spare:
            self._delete(f"api/webhooks/{row['id']}/")
        if ours is None:
            return int(self._write("POST", "api/webhooks/", wanted)["id"])
        if any(ours[name] != value for name, value in wanted.items() if name != "actions") or (
            set(ours["actions"]) != set(wanted["actions"])  # the server gives them back in an order of its own
        ):
            self._write("PATCH", f"api/webhooks/{ours['id']}/", wanted)
        return int(ours["id"])

    def ensure_assistant(self, project: int, url: str, secret: str) -> int:
        """Id of the project's one registration of our assistant, made, or brought to this address and secret.

        Label Studio asks the assistant for its health while it registers it. Raises LabelStudioError where it does not
        reach it, or refuses the address.
        """
        wanted = assistant_backend(project, url, secret)
        ours, *spare = [row for row in self._read("api/ml", project=project) if row["title"] == ASSISTANT] or [None]
        for row in spare:
            self._delete(f"api/ml/{row['id']}")
        if ours is None:
            kept = int(self._write("POST", "api/ml", wanted)["id"])
            # A Label Studio that meets a locked database repeats the request, and has then made two.
            for row in self._read("api/ml", project=project):
                if row["title"] == ASSISTANT and row["id"] != kept:
                    self._delete(f"api/ml/{row['id']}")
        else:
            kept = int(ours["id"])
            if not is_registered(ours, wanted):
                self._write("PATCH", f"api/ml/{kept}", wanted)
        # Label Studio also sends every answer to a webhook of the backend, and takes predictions from a backend that it
        # meets before any prediction. Set back each time: whoever registered it may have been killed before this.
        for row in self._read("api/webhooks/", project=project):
            if row["url"] == f"{url.rstrip('/')}/webhook":
                self._delete(f"api/webhooks/{row['id']}/")
        if self._read(f"api/projects/{project}/")["model_version"] == ASSISTANT:
            self._write("PATCH", f"api/projects/{project}/", {"model_version": ""})
        return kept
