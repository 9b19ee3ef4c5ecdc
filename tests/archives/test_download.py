"""A download from a server of this machine that breaks off: it is continued, verified, and never taken for whole."""

import hashlib
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from plankseg.archives import download
from plankseg.archives.download import DATASETS, fetch
from plankseg.archives.open_archive import open_archive
from plankseg.errors import DownloadError, SettingsError
from tests.support.archive_packing import jpeg, tar_of

ARCHIVE = tar_of({f"ZooScanNet/imgs/Calanoida/{n}.jpg": jpeg(n) for n in range(400)})


class Server:
    """Serves one file with ranges, and cuts the first answers off after so many bytes."""

    def __init__(self) -> None:
        self.data, self.etag, self.kind, self.status = ARCHIVE, '"v1"', "application/x-tar", 200
        self.cuts: list[int] = []
        self.asked: list[str | None] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                span = self.headers.get("Range")
                outer.asked.append(span)
                fits = span is not None and self.headers.get("If-Range") == outer.etag
                start = int(re.findall(r"\d+", span or "0")[0]) if fits else 0
                self.send_response(outer.status if outer.status != 200 else 206 if fits else 200)
                self.send_header("Content-Length", str(len(outer.data) - start))
                self.send_header("Content-Type", outer.kind)
                self.send_header("ETag", outer.etag)
                self.end_headers()
                self.wfile.write(outer.data[start : start + outer.cuts.pop(0)] if outer.cuts else outer.data[start:])
                self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/data/55741.tar"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def test_a_download_that_is_cut_off_in_the_middle_is_continued_where_it_broke(server: Server, tmp_path: Path) -> None:
    server.cuts = [300_000]
    told: list[tuple[int, int | None]] = []
    path = fetch("zooscannet", tmp_path, url=server.url, on_progress=lambda *now: told.append(now), pause_s=0)
    assert path.read_bytes() == ARCHIVE
    assert server.asked == [None, "bytes=300000-"]
    assert told[-1] == (len(ARCHIVE), len(ARCHIVE))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["55741.tar", "55741.tar.sha256"]
    assert open_archive(path).images == 400


def test_a_run_that_gave_up_is_continued_by_the_next(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "ATTEMPTS", 2)
    server.cuts = [100_000, 50_000]
    with pytest.raises(DownloadError, match=r"broke 2 times.*150000 bytes are kept.*Run it again to continue"):
        fetch("zooscannet", tmp_path, url=server.url, pause_s=0)
    assert not (tmp_path / "55741.tar").exists()
    assert fetch("zooscannet", tmp_path, url=server.url, pause_s=0).read_bytes() == ARCHIVE
    assert server.asked[-1] == "bytes=150000-"


def test_a_file_that_was_published_anew_in_between_begins_anew(server: Server, tmp_path: Path) -> None:
    (tmp_path / "55741.tar.part").write_bytes(b"old" * 1000)
    (tmp_path / "55741.tar.part.json").write_text('{"version": "\\"v0\\""}')
    assert fetch("zooscannet", tmp_path, url=server.url, pause_s=0).read_bytes() == ARCHIVE


def test_the_first_downloads_hash_is_kept_and_later_ones_are_checked_against_it(server: Server, tmp_path: Path) -> None:
    path = fetch("zooscannet", tmp_path, url=server.url)
    assert (tmp_path / "55741.tar.sha256").read_text().split()[0] == hashlib.sha256(ARCHIVE).hexdigest()
    fetch("zooscannet", tmp_path, url=server.url)
    assert len(server.asked) == 1  # there, verified, not asked for again
    path.write_bytes(ARCHIVE[:-5000])
    assert fetch("zooscannet", tmp_path, url=server.url).read_bytes() == ARCHIVE
    path.unlink()
    server.data = ARCHIVE[:-10] + b"tampered!!"
    with pytest.raises(DownloadError, match="another file than at the first download"):
        fetch("zooscannet", tmp_path, url=server.url)
    assert not path.exists()


def test_a_web_page_an_error_and_a_full_disk_are_told_at_once(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.kind = "text/html; charset=utf-8"
    with pytest.raises(DownloadError, match="web page"):
        fetch("zooscannet", tmp_path, url=server.url, pause_s=0)
    server.kind, server.status = "application/x-tar", 404
    with pytest.raises(DownloadError, match="404"):
        fetch("zooscannet", tmp_path, url=server.url, pause_s=0)
    server.status = 200
    usage = download.shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DownloadError, match=r"0\.0 GB free"):
        fetch("zooscannet", tmp_path, url=server.url, pause_s=0)


def test_a_data_set_without_a_known_address_names_its_page_and_the_option(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"doi\.org/10\.17882/94052.*plankseg fetch pelgas --url"):
        fetch("pelgas", tmp_path)
    with pytest.raises(SettingsError, match="there are zooscannet, pelgas"):
        fetch("everything", tmp_path)
    assert str(DATASETS["zooscannet"].url).startswith("https://www.seanoe.org/data/00446/55741/")
