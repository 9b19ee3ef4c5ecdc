"""What does Label Studio's webhook say? Pure JSON: how we ask for it, and what we believe of its body."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from plankseg.errors import HookError

RELAY_HEADER = "x-plankseg-relay"
ANSWERED = ("ANNOTATION_CREATED", "ANNOTATIONS_CREATED", "ANNOTATION_UPDATED")  # skips come as created, too


@dataclass(frozen=True)
class Hint:
    """Somebody is said to have dealt with a task. Nothing is concluded from it but that it is worth a look."""

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
    """The tasks that a webhook's body names; those of other people's making, and other actions, are left out.

    Raises:
        HookError: the body is no JSON object.
    """
    try:
        said = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise HookError(f"The webhook's body of {len(body)} bytes is no JSON ({type(error).__name__}).") from error
    if not isinstance(said, dict):
        raise HookError(f"The webhook's body is a JSON {type(said).__name__}, not an object.")
    action = said.get("action")
    return [Hint(*who, action) for who in _named(said.get("task"))] if action in ANSWERED else []


def _named(task: object) -> Iterator[tuple[int, int]]:
    """Number and round of each task; a webhook about several answers carries a list."""
    for one in task if isinstance(task, list) else [task]:
        data = one.get("data") if isinstance(one, dict) else None
        who = (one.get("id"), data.get("round")) if isinstance(one, dict) and isinstance(data, dict) else (None, None)
        if all(isinstance(number, int) and not isinstance(number, bool) for number in who):
            yield who  # type: ignore[misc]
