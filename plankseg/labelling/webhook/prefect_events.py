"""Send events to Prefect over HTTP, without importing Prefect."""

import base64
import logging
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx

log = logging.getLogger(__name__)

TASK_ANSWERED = "plankseg.task.answered"
ROUND_ANSWERED = "plankseg.round.answered"  # the trigger in deployments/prefect.yaml waits for this one
RETRY_WAITS_S = (1.0, 2.0, 4.0, 8.0)  # a restart of the server takes some ten seconds

Event = dict[str, Any]


def make_event(name: str, payload: Mapping[str, object], *, project: str) -> Event:
    """One event about a project of ours, as `POST /api/events` takes it."""
    return {
        "id": str(uuid4()),
        "event": name,
        "occurred": datetime.now(UTC).isoformat(),
        "resource": {"prefect.resource.id": f"plankseg.project.{project}", "prefect.resource.name": project},
        "payload": dict(payload),
    }


def send_events(
    api_url: str,
    events: Sequence[Event],
    *,
    headers: Mapping[str, str] | None = None,
    waits_s: Sequence[float] = RETRY_WAITS_S,
) -> bool:
    """Send events; if the server does not answer or fails, retry a few times, then drop them with a log line.

    True if they arrived. A retry sends the same ids, and an event too many does no harm.
    """
    failure = ""
    for wait in (0.0, *waits_s):
        time.sleep(wait)
        try:
            answer = httpx.post(f"{api_url}/events", json=list(events), headers=headers, timeout=10)
        except httpx.TransportError as error:
            failure = f"{type(error).__name__}: {error}"
            continue
        if answer.is_success:
            return True
        failure = f"status {answer.status_code}: {answer.text[:200]}"
        if not answer.is_server_error:
            break
    log.warning("Prefect at %s takes no events (%s): %d dropped, the schedule goes on", api_url, failure, len(events))
    return False


def authorization(environment: Mapping[str, str]) -> dict[str, str]:
    """The authorization header for a Prefect server with a key or a password, from Prefect's own variables."""
    if key := environment.get("PREFECT_API_KEY"):
        return {"Authorization": f"Bearer {key}"}
    if user_and_password := environment.get("PREFECT_API_AUTH_STRING"):
        return {"Authorization": f"Basic {base64.b64encode(user_and_password.encode()).decode()}"}
    return {}
