"""HTTP requests to Label Studio, with the SDK's transport and tokens, and our own errors and retries.

The SDK repeats POSTs that got no answer, which makes two tasks of one, and its typed models lose a whole page over one
malformed answer. So its retries are off, only reads are repeated here, and the JSON is passed on as the server sent it.
"""

import json
import logging
import time
from typing import Any, Self

import httpx

from plankseg.errors import LabelStudioAuthError, LabelStudioDownError, LabelStudioError, SettingsError

log = logging.getLogger(__name__)

READ_ATTEMPTS = 4
FIRST_WAIT_S = 0.25
READ_TIMEOUT_S = 30.0
WRITE_TIMEOUT_S = 120.0
PAGE = 100
LONGEST_INTEGER = 400  # digits
UNAUTHORIZED, NOT_FOUND, TOO_MANY, NO_CONTENT = 401, 404, 429, 204


class Transport:
    """Requests to one Label Studio. `token` is of either kind: a legacy one, or a personal access token."""

    def __init__(self, url: str, token: str, *, first_wait_s: float = FIRST_WAIT_S) -> None:
        if not url.startswith(("http://", "https://")):
            raise SettingsError(f"PLANKSEG_LABEL_STUDIO_URL is {url!r}; it must start with http:// or https://.")
        self._url = url.rstrip("/")
        if not token.strip():
            raise self._token_refused("the token is empty")
        self._first_wait_s = first_wait_s
        from label_studio_sdk.base_client import LabelStudioBase  # takes a second to load
        from label_studio_sdk.core.api_error import ApiError

        self._api_error: type[Exception] = ApiError
        self._http = httpx.Client()
        try:
            sdk = LabelStudioBase(base_url=self._url, api_key=token.strip(), httpx_client=self._http, max_retries=0)
        except ApiError as error:  # a personal token that has expired is refused without asking the server
            raise self._token_refused(str(error.body)) from error
        self._transport = sdk._client_wrapper.httpx_client

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; the client cannot be used afterwards."""
        self._http.close()

    def _pages(self, path: str, items: str, **params: Any) -> list[Any]:
        """All items of a paged list; past the last page the server answers 404, so its own count ends the loop."""
        rows: list[Any] = []
        page = 1
        while True:
            body = self._read(path, page=page, page_size=PAGE, **params)
            rows += body[items]
            if not body[items] or len(rows) >= (body["total"] if "total" in body else body["count"]):
                return rows
            page += 1

    def _read(self, path: str, **params: Any) -> Any:
        """GET, repeated a few times if the server does not answer or reports an error of its own."""
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
        """POST or PATCH, once: after an error the caller must check whether it arrived."""
        content, headers = json.dumps(body, allow_nan=False).encode(), {"Content-Type": "application/json"}
        return self._json(self._send(method, path, content=content, headers=headers))

    def _delete(self, path: str) -> None:
        """DELETE, once; what is gone already was deleted by another run that found the same."""
        response = self._send("DELETE", path)
        if response.status_code != NOT_FOUND:
            self._json(response)

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        """One request. Raises LabelStudioDownError if no answer came."""
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
            raise self._token_refused(str(getattr(error, "body", error))) from error
        except ValueError as error:
            raise self._unexpected(f"{method} {path}", str(error)) from error
        return response

    def _json(self, response: httpx.Response) -> Any:
        """The JSON of the answer. Raises our own error with the status and the beginning of the body."""
        what, body = f"{response.request.method} {response.request.url.path}", response.text[:300]
        if response.status_code == UNAUTHORIZED:
            raise self._token_refused(body)
        if not response.is_success:
            raise self._unexpected(what, f"status {response.status_code}: {body}")
        if response.status_code == NO_CONTENT:
            return None
        try:
            return _parsed(response)
        except (ValueError, RecursionError) as error:
            raise self._unexpected(what, f"no JSON: {body}") from error

    def _unexpected(self, what: str, answer: str) -> LabelStudioError:
        return LabelStudioError(
            f"Label Studio at {self._url} answered {what} with {answer}. "
            "Look into its log; if another program listens there, set PLANKSEG_LABEL_STUDIO_URL."
        )

    def _token_refused(self, answer: str) -> LabelStudioAuthError:
        return LabelStudioAuthError(
            f"Label Studio at {self._url} refuses the token in PLANKSEG_LABEL_STUDIO_TOKEN ({answer}). "
            "Copy a new one from Account & Settings in Label Studio."
        )


def _parsed(response: httpx.Response) -> Any:
    """The JSON of an answer; integers of thousands of digits, which Python refuses, become infinite."""
    try:
        return response.json()
    except ValueError:
        return response.json(parse_int=_bounded_int)


def _bounded_int(digits: str) -> int | float:
    return int(digits) if len(digits) <= LONGEST_INTEGER else float(digits)
