"""Label Studio's registration of an interactive backend as JSON."""

from collections.abc import Mapping
from typing import Any

ASSISTANT = "plankseg assistant"
"""Title of the backend. Never that of a model version: the project would take its predictions from the backend."""

USER = "plankseg"


def assistant_backend(project: int, url: str, secret: str) -> dict[str, Any]:
    """The backend that we register: interactive, behind the shared secret."""
    return {
        "project": project,
        "url": url,
        "title": ASSISTANT,
        "is_interactive": True,
        "auth_method": "BASIC_AUTH",
        "basic_auth_user": USER,
        "basic_auth_pass": secret,
    }


def is_registered(row: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """True for a registration that Label Studio reaches and that says what is wanted; it does not show the secret."""
    shown = {name: value for name, value in wanted.items() if name != "basic_auth_pass"}
    return row.get("state") == "CO" and all(row.get(name) == value for name, value in shown.items())
