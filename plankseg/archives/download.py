"""Published data sets and their resumable, verified download.

pooch keeps the file and checks its hash; it cannot continue a download, so the transfer is our own: the next attempt,
or the next run, continues a part file by a Range request while the server still has the same file.
"""

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pooch

from plankseg.errors import DownloadError, SettingsError

ATTEMPTS = 5
ProgressCallback = Callable[[int, int | None], None]


@dataclass(frozen=True)
class PublishedDataset:
    """A published data set. `url` is None where the file's address is not known to us; `page` leads to it."""

    title: str
    page: str
    licence: str
    url: str | None
    file: str


DATASETS: dict[str, PublishedDataset] = {
    # The address that other public code downloads version 2 from; we have not asked SEANOE's server ourselves.
    "zooscannet": PublishedDataset(
        title="ZooScanNet, 1.45 million vignettes of 98 taxa",
        page="https://doi.org/10.17882/55741",
        licence="CC-BY-NC-4.0",
        url="https://www.seanoe.org/data/00446/55741/data/113141.tar",
        file="ZooScanNet.tar",
    ),
    "pelgas": PublishedDataset(
        title="Pelgas ZooScan 2004-2016, 1.15 million vignettes of 127 groups",
        page="https://doi.org/10.17882/94052",
        licence="see the page",
        url=None,
        file="Pelgas.tar",
    ),
}


def published(name: str) -> PublishedDataset:
    """What is known of a data set. Raises SettingsError for an unknown one."""
    if name not in DATASETS:
        raise SettingsError(f"No data set is called {name!r}; there are {', '.join(DATASETS)}.")
    return DATASETS[name]


def fetch(
    name: str,
    folder: Path,
    *,
    url: str | None = None,
    on_progress: ProgressCallback | None = None,
    pause_s: float = 2.0,
) -> Path:
    """Download a published archive into a folder, or continue to, and return its path; one that is there is verified.

    No hash is published, so the first download's sha256 is written beside it and every later call checks against that.

    Raises:
        SettingsError: no such data set, or its file's address is not known and none was given.
        DownloadError: the connection broke too often (run it again to continue), the disk is too small, or the file
            changed.
    """
    found = published(name)
    address = url or found.url
    if address is None:
        raise SettingsError(
            f"The file of {found.title} has no address that we know. Open {found.page}, copy the link of its "
            f"download and give it: plankseg fetch {name} --url LINK"
        )
    folder = folder.expanduser().resolve()
    folder.mkdir(parents=True, exist_ok=True)
    pooch.get_logger().setLevel("WARNING")
    file = found.file if url is None else _file_name(url, found.file)
    note = folder / f"{file}.sha256"
    known = note.read_text(encoding="ascii").split()[0] if note.exists() else None
    try:
        path = pooch.retrieve(
            address,
            known_hash=f"sha256:{known}" if known else None,
            fname=file,
            path=folder,
            downloader=ResumingDownloader(folder / f"{file}.part", on_progress=on_progress, pause_s=pause_s),
        )
    except ValueError as error:  # pooch: the hash is another one
        raise DownloadError(
            f"{address} now gives another file than at the first download ({error}). If it was published anew, move "
            f"{note} away and run it again."
        ) from error
    if known is None:
        note.write_text(f"{pooch.file_hash(path)}  {file}\n", encoding="ascii")
    return Path(path)


class ResumingDownloader:
    """A downloader for pooch that continues a part file, and tries again when the connection breaks."""

    def __init__(self, part: Path, *, on_progress: ProgressCallback | None, pause_s: float) -> None:
        self._part, self._on_progress, self._pause_s = part, on_progress, pause_s
        self._note = part.with_name(f"{part.name}.json")

    def __call__(self, url: str, output_file: str, _: Any) -> None:
        """Download to the part file and move it to where pooch wants it. Raises DownloadError."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                self._resume(url)
                break
            except (httpx.TransportError, _RetryableError) as error:
                if attempt == ATTEMPTS:
                    raise DownloadError(
                        f"{url}: the connection broke {ATTEMPTS} times ({error}); {self._size()} bytes are kept in "
                        f"{self._part}. Run it again to continue."
                    ) from error
                time.sleep(self._pause_s * attempt)
        shutil.move(self._part, output_file)
        self._note.unlink(missing_ok=True)

    def _resume(self, url: str) -> None:
        """Ask for what is missing, or for all where the server's file is not the one of the part."""
        offset, version = self._size(), self._version()
        headers = {"Accept-Encoding": "identity"}
        if offset and version:
            headers |= {"Range": f"bytes={offset}-", "If-Range": version}
        with httpx.stream("GET", url, headers=headers, follow_redirects=True, timeout=30) as answer:
            if answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                self._part.unlink(missing_ok=True)
                raise _RetryableError("the part that is here is longer than the file; it begins anew")
            if answer.status_code >= 500:
                raise _RetryableError(f"status {answer.status_code}")
            if answer.status_code not in (httpx.codes.OK, httpx.codes.PARTIAL_CONTENT):
                raise DownloadError(f"{url} answered {answer.status_code} {answer.reason_phrase}; check the address.")
            if answer.headers.get("Content-Type", "").startswith("text/html"):
                raise DownloadError(f"{url} is a web page, not the archive; copy the link of the download itself.")
            continues = answer.status_code == httpx.codes.PARTIAL_CONTENT
            offset = offset if continues else 0
            length = answer.headers.get("Content-Length")
            total = offset + int(length) if length else None
            self._require_space(total, offset)
            new = {"version": answer.headers.get("ETag") or answer.headers.get("Last-Modified")}
            self._note.write_text(json.dumps(new), encoding="utf-8")
            with self._part.open("ab" if continues else "wb") as file:
                for piece in answer.iter_raw():
                    file.write(piece)
                    offset += len(piece)
                    if self._on_progress is not None:
                        self._on_progress(offset, total)
        if total is not None and offset != total:
            raise _RetryableError(f"{offset} of {total} bytes came")

    def _require_space(self, total: int | None, offset: int) -> None:
        free = shutil.disk_usage(self._part.parent).free
        if total is not None and total - offset > free:
            raise DownloadError(
                f"{self._part.parent} has {free / 1e9:.1f} GB free, {(total - offset) / 1e9:.1f} GB are to come; make "
                "room or name another folder."
            )

    def _size(self) -> int:
        return self._part.stat().st_size if self._part.exists() else 0

    def _version(self) -> str | None:
        """The server's own name for the version of the file that the part is of, None where it gave none."""
        if not self._note.exists():
            return None
        version: str | None = json.loads(self._note.read_text(encoding="utf-8")).get("version")
        return version if version and not version.startswith("W/") else None


class _RetryableError(Exception):
    """A fault of the server or the connection that may be gone at the next attempt."""


def _file_name(url: str, usual: str) -> str:
    """The name that an address gives its file, where it is an archive's."""
    name = Path(urlsplit(url).path).name
    return name if name.lower().endswith((".tar", ".zip", ".gz", ".xz", ".tgz", ".bz2")) else usual
