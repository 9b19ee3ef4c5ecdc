"""Requests to one EcoTaxa server: one connection, a pause between requests, reads repeated, errors of our own.

The routes are those of EcoTaxa's own description (`openapi.json` of github.com/ecotaxa/ecotaxa_back, version 0.0.45),
below `/api`; images lie below `/vault`. A request that changes something is sent once: whether it arrived is asked of
the server, never guessed.
"""

import importlib.metadata
import ipaddress
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
from pydantic import SecretStr

from plankseg.errors import EcoTaxaAuthError, EcoTaxaDownError, EcoTaxaError, SettingsError

ATTEMPTS = 5
TIMEOUT_S = 120.0
UPLOAD_TIMEOUT_S = 600.0
SHOWN_CHARACTERS = 300
UNAUTHORIZED, FORBIDDEN, NOT_FOUND, TOO_MANY = 401, 403, 404, 429


@dataclass(frozen=True)
class Pace:
    """How a server is spared, in seconds: between requests, first and longest wait after one that failed."""

    pause_s: float = 0.1
    first_wait_s: float = 2.0
    longest_wait_s: float = 600.0


class EcoTaxaClient:
    """One EcoTaxa. Without a token it shows what it shows to anybody: validated objects of public projects."""

    def __init__(
        self,
        url: str,
        token: SecretStr | None = None,
        *,
        pace: Pace | None = None,
        on_wait: Callable[[str], None] | None = None,
    ) -> None:
        self._url = _checked_url(url, has_token=token is not None)
        self._token = token.get_secret_value().strip().strip('"') if token is not None else ""
        self._pace = pace or Pace()
        self._on_wait = on_wait or (lambda _: None)
        headers = {"User-Agent": f"plankseg/{importlib.metadata.version('plankseg')}"}
        if self._token:
            if not (self._token.isascii() and self._token.isprintable()):
                raise SettingsError("PLANKSEG_ECOTAXA_TOKEN has characters that no token has; copy it again.")
            headers["Authorization"] = f"Bearer {self._token}"
        limits = httpx.Limits(max_connections=1, max_keepalive_connections=1)
        self._http = httpx.Client(headers=headers, limits=limits, timeout=TIMEOUT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    @property
    def url(self) -> str:
        """The server's address, without a slash at its end."""
        return self._url

    @property
    def has_token(self) -> bool:
        """Whether requests are made as a person."""
        return bool(self._token)

    def require_token(self) -> None:
        """Raises EcoTaxaAuthError without a token: only a person may change something."""
        if not self.has_token:
            raise EcoTaxaAuthError("PLANKSEG_ECOTAXA_TOKEN is not set; docs/ecotaxa.md says where a token comes from.")

    def get(self, path: str, **params: Any) -> Any:
        """The JSON of GET /api/`path`, repeated while the server fails. Raises EcoTaxaError and its kinds."""
        return self._json(self._read("GET", f"/api/{path}", params=params))

    def query(self, path: str, body: object, **params: Any) -> Any:
        """The JSON of a POST that only reads, repeated as `get`."""
        return self._json(self._read("POST", f"/api/{path}", params=params, json=body))

    def image(self, name: str) -> bytes | None:
        """The bytes of an image of the vault, whole as the server announces them; None where it has none."""
        answer = self._read("GET", f"/vault/{name}")
        if answer.status_code == NOT_FOUND:
            return None
        self._require_success(answer)
        return answer.content

    def change(self, path: str, body: object) -> Any:
        """The JSON of a POST that changes something, sent once. Raises EcoTaxaError and its kinds."""
        return self._json(self._once("POST", f"/api/{path}", json=body))

    def upload(self, path: str, file: Path, name: str) -> Any:
        """Send a file to `path` under the name `name` among the person's files, once. Raises EcoTaxaError, OSError."""
        with file.open("rb") as stream:
            files = {"file": (name.rpartition("/")[2], stream, "application/zip")}
            answer = self._once("POST", f"/api/{path}", files=files, data={"path": name}, timeout=UPLOAD_TIMEOUT_S)
        return self._json(answer)

    def _read(self, method: str, path: str, **request: Any) -> httpx.Response:
        """An answer that is neither an error of the server's own nor a request to wait."""
        attempt = 0
        while True:
            attempt += 1
            asked_s = None
            try:
                answer = self._once(method, path, **request)
                if answer.status_code != TOO_MANY and answer.status_code < 500:
                    return answer
                fault: EcoTaxaError = self._error(answer)
                asked_s = _retry_after(answer)
            except EcoTaxaDownError as error:
                fault = error
            wait_s = self._pace.first_wait_s * 2 ** (attempt - 1) if asked_s is None else asked_s
            if attempt == ATTEMPTS or wait_s > self._pace.longest_wait_s:
                break
            self._on_wait(f"{fault} Asking again in {wait_s:.0f} s.")
            time.sleep(wait_s)
        wish = f"It asks to wait {asked_s:.0f} s. " if asked_s else ""
        raise EcoTaxaDownError(
            f"{fault} Tried {attempt} times. {wish}Run the same command later; it goes on."
        ) from fault

    def _once(self, method: str, path: str, **request: Any) -> httpx.Response:
        time.sleep(self._pace.pause_s)
        try:
            return self._http.request(method, self._url + path, **request)
        except httpx.RequestError as error:
            raise EcoTaxaDownError(
                f"EcoTaxa at {self._url} broke off or did not answer {method} {path} ({type(error).__name__}: {error})."
            ) from error

    def _json(self, answer: httpx.Response) -> Any:
        self._require_success(answer)
        try:
            return answer.json()
        except ValueError as error:
            raise EcoTaxaError(
                f"{self._asked(answer)} was answered with no JSON: {self._shown(answer)} Check PLANKSEG_ECOTAXA_URL."
            ) from error

    def _require_success(self, answer: httpx.Response) -> None:
        if not answer.is_success:
            raise self._error(answer)

    def _error(self, answer: httpx.Response) -> EcoTaxaError:
        """What an answer that is no success means, and the next step."""
        text = f"{self._asked(answer)} was answered with {answer.status_code}: {self._shown(answer)}"
        if answer.status_code == UNAUTHORIZED or (answer.status_code == FORBIDDEN and not self.has_token):
            return EcoTaxaAuthError(
                f"{text} Set PLANKSEG_ECOTAXA_TOKEN to a new token (they last 31 days): docs/ecotaxa.md says how."
            )
        if answer.status_code == FORBIDDEN:
            return EcoTaxaAuthError(f"{text} Ask a manager of the project for the right to do this.")
        if answer.status_code == NOT_FOUND:
            return EcoTaxaError(f"{text} Check the number of the project, and PLANKSEG_ECOTAXA_URL.")
        if answer.is_redirect:
            location = answer.headers.get("Location", "another address")
            return EcoTaxaError(f"{text} It leads to {location}; set PLANKSEG_ECOTAXA_URL to where the server is.")
        if answer.status_code == TOO_MANY or answer.status_code >= 500:
            return EcoTaxaError(f"{text} The server is busy or has a fault of its own.")
        return EcoTaxaError(text)

    def _asked(self, answer: httpx.Response) -> str:
        return f"{answer.request.method} {self._url}{answer.request.url.path}"

    def _shown(self, answer: httpx.Response) -> str:
        """The beginning of an answer on one line, without our token."""
        text = " ".join(answer.text[: 4 * SHOWN_CHARACTERS].split())
        if self._token:
            text = text.replace(self._token, "***")
        return (text[:SHOWN_CHARACTERS] or answer.reason_phrase).rstrip(".") + "."


def _checked_url(url: str, *, has_token: bool) -> str:
    """The address without what follows the host's path. Raises SettingsError."""
    try:
        parts = urlsplit(url.strip())
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        raise SettingsError(f"PLANKSEG_ECOTAXA_URL is {url!r}: {error}.") from error
    if parts.scheme not in ("http", "https") or not host or parts.username or parts.query or parts.fragment:
        raise SettingsError(f"PLANKSEG_ECOTAXA_URL is {url!r}; give https:// and the server's name, nothing else.")
    if parts.scheme == "http" and has_token and not _is_this_machine(host):
        raise SettingsError(
            f"PLANKSEG_ECOTAXA_URL is {url!r}: anybody on the way could read the token; give the https:// address."
        )
    return url.strip().rstrip("/").removesuffix("/api")


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _retry_after(answer: httpx.Response) -> float | None:
    """The seconds that the server asks to wait, None where it does not say."""
    text = answer.headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
