"""Settings of Label Studio as `label_studio/serve.sh` starts it: foreign pages are refused, and clicks work at once.

Label Studio checks no CSRF token on its API, and a browser sends its cookie along with requests of every page that any
port of this machine served. Such a page could delete a project's tasks in the name of who is signed in.
This file stands apart because it runs in Label Studio's environment and no folder named `label_studio` may hold Python.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.settings.base import *  # noqa: F403  (their settings look into Django's, that is into these, while they load)
from django.http import HttpRequest, HttpResponse, HttpResponseForbidden

SENTRY_DSN = ""  # the same

from label_studio.core.settings.label_studio import *  # noqa: E402, F403
from label_studio.core.settings.label_studio import MIDDLEWARE as THEIRS  # noqa: E402

REFUSED = "Label Studio takes requests of its own pages only."
MIDDLEWARE = [f"{__name__}.refuse_foreign_pages", *THEIRS, f"{__name__}.help_clicks"]
HEAD = b"<head>"
SCRIPT = b"<script>" + Path(__file__).with_name("help_clicks.js").read_bytes() + b"</script>"


def help_clicks(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Put `help_clicks.js` into every page, before Label Studio's own scripts."""

    def add_script(request: HttpRequest) -> Any:
        response = get_response(request)
        is_page = str(response.headers.get("Content-Type", "")).startswith("text/html")
        if is_page and not response.streaming and HEAD in response.content:
            response.content = response.content.replace(HEAD, HEAD + SCRIPT, 1)
        return response

    return add_script


def refuse_foreign_pages(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Let through programs, Label Studio's own pages, and links that a person follows."""

    def guard(request: HttpRequest) -> Any:
        if is_foreign(request) and not is_followed_link(request):
            return HttpResponseForbidden(
                "Label Studio takes requests of its own pages only.", content_type="text/plain"
            )
        return get_response(request)

    return guard


def is_foreign(request: HttpRequest) -> bool:
    """True if a browser says that a page of another address, or another port, sends this. Programs say nothing."""
    origin = request.headers.get("Origin")
    site = request.headers.get("Sec-Fetch-Site")
    return (origin is not None and origin != f"{request.scheme}://{request.headers.get('Host')}") or (
        site is not None and site not in {"same-origin", "none"}
    )


def is_followed_link(request: HttpRequest) -> bool:
    """True if a whole window goes there, which changes nothing and shows the other page nothing."""
    wanted = (request.headers.get("Sec-Fetch-Mode"), request.headers.get("Sec-Fetch-Dest"))
    return request.method == "GET" and wanted == ("navigate", "document")
