"""Each part is looked at on its own; what is wrong is named with its cure."""

import http.server
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from plankseg import doctor
from plankseg.config import Settings
from plankseg.doctor import Finding, examine, next_step
from plankseg.errors import WeightsError
from plankseg.local_servers import free_port
from plankseg.storage.store import Store

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    for name in ("PLANKSEG_LABEL_STUDIO_TOKEN", "PLANKSEG_WEBHOOK_SECRET"):
        monkeypatch.delenv(name, raising=False)


def settings(tmp_path: Path, **fields: object) -> Settings:
    return Settings(store=str(tmp_path / "store"), device="cpu", **fields)  # type: ignore[arg-type]


def test_every_part_is_looked_at_even_when_some_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failures: dict[str, Exception] = {
        "_torch": ImportError("libtorch is missing"),
        "_network": RuntimeError("operator does not exist"),
        "_imagenet": WeightsError("no weights"),
        "_disk": OSError("input/output error"),
        "_prefect": ValueError("no JSON"),
    }

    def failing(error: Exception) -> object:
        def check(_: Settings) -> Finding:
            raise error

        return check

    for name, error in failures.items():
        monkeypatch.setattr(doctor, name, failing(error))
    found = {finding.part: finding for finding in examine(settings(tmp_path))}
    assert list(found) == [
        "torch",
        "torchvision",
        "OpenVINO",
        "neural network",
        "ImageNet weights",
        "store",
        "disk",
        "Prefect",
        "Label Studio",
        "webhook relay",
        "assistant",
    ]
    for part in ("torch", "neural network", "ImageNet weights", "disk", "Prefect"):
        assert found[part].state == "broken"
        assert found[part].cure
    assert "libtorch is missing" in found["torch"].seen
    assert found["store"].state == "absent"


def test_two_builds_of_torch_and_torchvision_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from plankseg.learning.network import torchvision_operators

    two = "torch 2.13.0+cpu and torchvision 0.28.0+cu130 are of two builds"
    monkeypatch.setattr(torchvision_operators, "misfit", lambda: two)
    found = doctor._torchvision(settings(tmp_path))
    assert found.state == "fine"
    assert two in found.seen
    assert (found.state, found.cure) == ("fine", ""), "nothing need be done: none of the operators is used"
    monkeypatch.setattr(torchvision_operators, "misfit", lambda: "")
    found = doctor._torchvision(settings(tmp_path))
    assert (found.state, found.cure) == ("fine", "")
    assert "of the build of torch" in found.seen


def test_a_store_is_absent_empty_filled_or_in_the_way(tmp_path: Path) -> None:
    wanted = settings(tmp_path)
    absent = doctor._store(wanted)
    assert (absent.state, "PLANKSEG_STORE" in absent.cure) == ("absent", True)
    assert not Store.exists(wanted.store_location)
    Store.open(wanted.store_location)
    assert doctor._store(wanted) == Finding("store", "fine", f"{wanted.store_location}: no images yet")
    (tmp_path / "file").touch()
    assert doctor._store(Settings(store=str(tmp_path / "file"))).state == "broken"


def test_a_store_that_every_user_can_read_is_named_with_the_cure(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        wanted = Settings(store=f"{folder}/store")
        Store.open(wanted.store_location)
        assert doctor._store(wanted).cure == "", "a store that we make is its owner's alone"
        (Path(folder) / "store").chmod(0o755)
        found = doctor._store(wanted)
    assert "other users of this machine can read it" in found.seen
    assert "chmod 700" in found.cure


def test_a_prefect_that_wants_a_log_in_is_named_with_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(url: str, *, headers: dict[str, str], timeout: float) -> httpx.Response:
        right = headers.get("Authorization") == "Basic cGxhbmtzZWc6cmlnaHQ="
        return httpx.Response(200 if right else 401, json="3.8.8", request=httpx.Request("GET", url))

    monkeypatch.setattr(httpx, "get", ask)
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    monkeypatch.delenv("PREFECT_API_AUTH_STRING", raising=False)
    refused = doctor._prefect(settings(tmp_path))
    assert refused.state == "broken"
    assert "PREFECT_API_AUTH_STRING" in refused.cure
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "plankseg:right")
    assert doctor._prefect(settings(tmp_path)) == Finding("Prefect", "fine", "3.8.8 at http://127.0.0.1:9/api")


def test_a_full_disk_is_broken_and_a_store_that_is_not_there_yet_is_measured_above(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = Settings(store=str(tmp_path / "not" / "yet"))
    monkeypatch.setattr(doctor, "ENOUGH_DISK", 0)
    assert doctor._disk(wanted).state == "fine"
    monkeypatch.setattr(doctor, "ENOUGH_DISK", 2**80)
    full = doctor._disk(wanted)
    assert full.state == "broken"
    assert str(tmp_path) in full.seen


@pytest.fixture
def chatter() -> Iterator[str]:
    """A server that answers everything with a page that is no JSON."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>hello")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.HTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/api"
        server.shutdown()
        thread.join()


def test_prefect_is_absent_without_an_address_and_broken_at_a_wrong_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chatter: str
) -> None:
    assert doctor._prefect(settings(tmp_path)).state == "absent"
    for url in (f"http://127.0.0.1:{free_port()}/api", "no address", "http://[", chatter):
        monkeypatch.setenv("PREFECT_API_URL", url)
        found = doctor._prefect(settings(tmp_path))
        assert found.state == "broken"
        assert url in found.seen
        assert "PREFECT_API_URL" in found.cure


def test_label_studio_is_absent_without_a_token_and_broken_when_nobody_answers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    absent = doctor._label_studio(settings(tmp_path))
    assert (absent.state, absent.cure != "") == ("absent", True)
    url = f"http://127.0.0.1:{free_port()}"
    broken = doctor._label_studio(settings(tmp_path, label_studio_url=url, label_studio_token="0" * 8))
    assert broken.state == "broken"
    assert broken.seen == f"nobody answers at {url}"
    assert caplog.messages == [], "no line between those of the parts"


@pytest.mark.parametrize("part", ["relay", "assistant"])
def test_what_label_studio_calls_is_absent_without_a_secret_and_broken_where_nobody_or_another_answers(
    tmp_path: Path, chatter: str, part: str
) -> None:
    check = getattr(doctor, f"_{part}")
    absent = check(settings(tmp_path, webhook_secret=None))
    assert (absent.state, "PLANKSEG_WEBHOOK_SECRET" in absent.seen) == ("absent", True)
    for url in (f"http://127.0.0.1:{free_port()}", "no address", chatter):
        found = check(settings(tmp_path, webhook_secret="0" * 16, **{f"{part}_url": url}))
        assert (found.state, url in found.seen) == ("broken", True)
        assert f"PLANKSEG_{part.upper()}_URL" in found.cure


@pytest.mark.parametrize("part", ["relay", "assistant"])
def test_what_label_studio_calls_is_fine_where_it_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    answer = httpx.Response(200, json={"status": "UP"}, request=httpx.Request("GET", "http://127.0.0.1"))
    monkeypatch.setattr(httpx, "get", lambda *_args, **_options: answer)
    assert getattr(doctor, f"_{part}")(settings(tmp_path, webhook_secret="0" * 16)).state == "fine"


def test_torch_and_the_network_are_really_tried(tmp_path: Path) -> None:
    assert doctor._torch(settings(tmp_path)).seen.endswith("threads")
    network = doctor._network(settings(tmp_path))
    assert network.state == "fine"
    assert "14.3 million weights" in network.seen


@pytest.mark.parametrize(
    ("installed", "state", "cure"), [(False, "absent", "pip install 'plankseg[openvino]'"), (True, "fine", "")]
)
def test_openvino_is_an_extra_whose_absence_is_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: bool, state: str, cure: str
) -> None:
    monkeypatch.setattr("plankseg.inference.openvino_models.has_openvino", lambda: installed)
    monkeypatch.setattr("importlib.metadata.version", lambda _: "2026.4")
    found = doctor._openvino(settings(tmp_path))
    assert (found.state, found.cure) == (state, cure)


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ({"torch": "broken", "Prefect": "absent"}, r"Broken: torch. Do what stands behind the arrow"),
        ({"torch": "fine", "Prefect": "absent", "Label Studio": "fine"}, "Next: `make up` serves both pages"),
        ({"torch": "fine", "Prefect": "fine", "Label Studio": "fine"}, "Next: `plankseg status` says what is due"),
    ],
)
def test_it_ends_with_what_to_do_next(states: dict[str, str], expected: str) -> None:
    assert expected in next_step([Finding(part, state, "") for part, state in states.items()])  # type: ignore[arg-type]


def test_the_next_command_names_the_store_that_was_looked_at_where_it_would_look_elsewhere() -> None:
    fine = [Finding(part, "fine", "") for part in ("Prefect", "Label Studio")]
    assert "`plankseg status` says" in next_step(fine)
    assert "`plankseg status --store /there/store` says" in next_step(fine, "/there/store")
