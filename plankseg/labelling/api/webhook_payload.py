"""Label Studio's webhook as JSON: its registration, and the hints read from its body."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from plankseg.errors import HookError

RELAY_HEADER = "x-plankseg-relay"
ANSWERED = ("ANNOTATION_CREATED", "ANNOTATIONS_CREATED", "ANNOTATION_UPDATED")  # skips come as created, too


@dataclass(frozen=True)
class Hint:
    """A claim that a task was answered. It is never trusted: it only triggers a check of Label Studio."""

    task_id: int
    round: int
    action: str


def relay_webhook(project: int, url: str, secret: str) -> dict[str, Any]:
    """The webhook that we register: answers only, with the task beside them, and the shared secret."""
    return {
        "project": project,
        "url": url,
        "headers": {RELAY_HEADER: secret},
        "send_payload": True,
        "send_for_all_actions": False,
        "actions": list(ANSWERED),
        "is_active": True,
    }


def is_relay_webhook(row: Mapping[str, Any], project: int) -> bool:
    """True for a webhook that a relay of ours registered in this project, whatever address it had then."""
    return row.get("project") == project and RELAY_HEADER in (row.get("headers") or {})


def read_hints(body: bytes) -> list[Hint]:
    """The tasks that a webhook's body names; tasks without our fields and other actions are left out.

    Raises:
        HookError: the body is no JSON object.
    """
    try:
        payload = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise HookError(f"The webhook's body of {len(body)} bytes is no JSON ({type(error).__name__}).") from error
    if not isinstance(payload, dict):
        raise HookError(f"The webhook's body is a JSON {type(payload).__name__}, not an object.")
    action = payload.get("action")
    return (
        [Hint(task_id, round, action) for task_id, round in _named_tasks(payload.get("task"))]
        if action in ANSWERED
        else []
    )


def _named_tasks(task: object) -> Iterator[tuple[int, int]]:
    """Number and round of each task; a webhook about several answers carries a list."""
    for payload in task if isinstance(task, list) else [task]:
        data = payload.get("data") if isinstance(payload, dict) else None
        if not isinstance(payload, dict) or not isinstance(data, dict):
            continue
        task_id, round_number = payload.get("id"), data.get("round")
        if _is_number(task_id) and _is_number(round_number):
            yield task_id, round_number


def _is_number(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
