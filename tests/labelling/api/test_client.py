"""Faults of the wire: reads are repeated, writes never, and every error says what to do."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import numpy as np
import pytest

from plankseg.errors import LabelStudioAuthError, LabelStudioDownError, LabelStudioError, SettingsError
from plankseg.labelling.api import transport
from plankseg.labelling.api.client import LabelStudioClient
from plankseg.labelling.sync.push import push_round
from tests.support.labelling_project import CONFIG, Bench, disc, item, png

TOKEN = "0123456789abcdef0123456789abcdef01234567"
DROP, HANG = "drop", "hang"


class Scripted:
    """A server that answers by a script: (status, body), or DROP to hang up, or HANG to stay silent."""

    def __init__(self) -> None:
        self.script: list[Any] = []
        self.asked: list[str] = []
        self.released = threading.Event()
        self.url = ""

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        self.asked.append(f"{handler.command} {handler.path.split('?')[0]}")
        handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if step == HANG:
            self.released.wait(20)
        if step in (DROP, HANG):
            handler.close_connection = True
            return
        status, body = step
        content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    state = Scripted()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.handle(self)

        do_POST = do_PATCH = do_DELETE = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield state
    state.released.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def client(scripted: Scripted) -> Iterator[LabelStudioClient]:
    with LabelStudioClient(scripted.url, TOKEN, first_wait_s=0.001) as made:
        yield made


EMPTY_PAGE = (200, {"total": 0, "tasks": []})
NO_PROJECT = (200, {"count": 0, "results": []})


@pytest.mark.parametrize("fault", [(500, "oops"), (503, "busy"), (429, "slow down"), DROP])
def test_a_read_is_repeated_until_the_server_is_back(scripted: Scripted, client: LabelStudioClient, fault: Any) -> None:
    scripted.script = [fault, fault, EMPTY_PAGE]
    assert client.list_tasks(1) == []
    assert len(scripted.asked) == 3


def test_a_read_gives_up_in_the_end(scripted: Scripted, client: LabelStudioClient) -> None:
    scripted.script = [(503, "busy")]
    with pytest.raises(LabelStudioError, match="503: busy"):
        client.list_tasks(1)
    assert len(scripted.asked) == transport.READ_ATTEMPTS


@pytest.mark.parametrize("fault", [(500, "oops"), (503, "busy"), (409, "conflict"), DROP])
def test_a_write_is_sent_once(scripted: Scripted, client: LabelStudioClient, fault: Any) -> None:
    scripted.script = [fault]
    writes = [
        lambda: client.import_tasks(1, [{"data": {}}]),
        lambda: client.create_annotation(1, [], lead_time=1.0),
        lambda: client.update_annotation(1, [], lead_time=1.0),
        lambda: client.delete_task(1),
    ]
    for number, write in enumerate(writes, start=1):
        with pytest.raises(LabelStudioDownError if fault == DROP else LabelStudioError):
            write()
        assert len(scripted.asked) == number


@pytest.mark.parametrize("gone", [(204, ""), (404, {"detail": "Not found."})])
def test_of_two_projects_that_a_repeated_request_made_the_first_stays(
    scripted: Scripted, client: LabelStudioClient, gone: Any
) -> None:
    rows = [{"id": number, "title": "new", "task_number": 0} for number in (58, 57)]
    made = (200, {"count": 2, "results": rows})
    scripted.script = [NO_PROJECT, (201, {"id": 58}), made, gone]
    assert client.ensure_project("new", CONFIG) == 57
    assert scripted.asked[-1] == "DELETE /api/projects/58/"


def test_a_project_made_meanwhile_that_has_tasks_is_not_deleted(scripted: Scripted, client: LabelStudioClient) -> None:
    rows = [{"id": 57, "title": "new", "task_number": 0}, {"id": 58, "title": "new", "task_number": 3}]
    scripted.script = [NO_PROJECT, (201, {"id": 57}), (200, {"count": 2, "results": rows})]
    assert client.ensure_project("new", CONFIG) == 57
    assert not any(asked.startswith("DELETE") for asked in scripted.asked)


def test_a_refused_token_is_named_by_its_setting_and_not_shown(scripted: Scripted, client: LabelStudioClient) -> None:
    scripted.script = [(401, {"detail": "Invalid token."})]
    with pytest.raises(LabelStudioAuthError, match="PLANKSEG_LABEL_STUDIO_TOKEN") as caught:
        client.check()
    assert TOKEN not in str(caught.value)
    assert len(scripted.asked) == 1


def test_a_server_that_is_not_there_is_named_with_the_next_step(scripted: Scripted) -> None:
    free = scripted.url.rsplit(":", 1)[0] + ":9"  # the discard port: nothing listens there
    with LabelStudioClient(free, TOKEN, first_wait_s=0.001) as client:
        with pytest.raises(LabelStudioDownError, match=f"{free} does not answer .*make up"):
            client.check()


def test_a_server_that_stays_silent_counts_as_down(
    scripted: Scripted, client: LabelStudioClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "WRITE_TIMEOUT_S", 0.1)
    scripted.script = [HANG]
    with pytest.raises(LabelStudioDownError, match="ReadTimeout"):
        client.import_tasks(1, [{"data": {}}])
    assert len(scripted.asked) == 1


def test_another_program_on_that_port_is_noticed(scripted: Scripted, client: LabelStudioClient) -> None:
    scripted.script = [(200, "<html>hello</html>")]
    with pytest.raises(LabelStudioError, match="no JSON: <html>hello"):
        client.check()


def test_an_error_shows_status_and_the_beginning_of_the_body(scripted: Scripted, client: LabelStudioClient) -> None:
    scripted.script = [(400, "x" * 5000)]
    with pytest.raises(LabelStudioError, match="POST /api/projects/1/import with status 400: xxx") as caught:
        client.import_tasks(1, [{"data": {}}])
    assert len(str(caught.value)) < 700


def project_row(number: int, title: str, config: str = CONFIG) -> dict[str, Any]:
    return {"id": number, "title": title, "label_config": config}


def test_two_projects_of_one_title_are_an_error_that_names_both(scripted: Scripted, client: LabelStudioClient) -> None:
    rows = [project_row(3, "plankton"), project_row(5, "plankton of last year"), project_row(8, "plankton")]
    scripted.script = [(200, {"count": 3, "results": rows})]
    with pytest.raises(LabelStudioError, match="Projects 3, 8 are all named 'plankton'"):
        client.ensure_project("plankton", CONFIG)
    assert client.ensure_project("plankton of last year", CONFIG) == 5


def test_a_project_with_another_configuration_is_not_used(scripted: Scripted, client: LabelStudioClient) -> None:
    row = project_row(3, "plankton", CONFIG.replace("BrushLabels", "RectangleLabels"))
    scripted.script = [(200, {"count": 1, "results": [row]})]
    with pytest.raises(LabelStudioError, match=r"labeling_config\.xml"):
        client.ensure_project("plankton", CONFIG)


def test_names_that_the_server_would_change_are_refused(client: LabelStudioClient) -> None:
    for name in ("a b.png", "../a.png", "ä.png", "", "x" * 81):
        with pytest.raises(LabelStudioError, match="would be changed"):
            client.upload_images(1, {name: b""})


def test_settings_that_cannot_work_are_refused_at_once() -> None:
    with pytest.raises(SettingsError, match="PLANKSEG_LABEL_STUDIO_URL"):
        LabelStudioClient("127.0.0.1:8080", TOKEN)
    with pytest.raises(LabelStudioAuthError, match="PLANKSEG_LABEL_STUDIO_TOKEN"):
        LabelStudioClient("http://127.0.0.1:8080", " ")


def test_an_expired_personal_token_is_refused_without_asking() -> None:
    import jwt

    expired = jwt.encode({"token_type": "refresh", "exp": 1}, "k" * 32)
    with pytest.raises(LabelStudioAuthError, match="expired"):
        LabelStudioClient("http://127.0.0.1:9", expired)


def test_who_does_not_talk_to_a_server_does_not_pay_for_the_sdk() -> None:
    code = (
        "import sys, plankseg.labelling.api.client, plankseg.labelling.testing.fake, plankseg.labelling.sync.pull, "
        "plankseg.labelling.sync.push, plankseg.labelling.testing.simulated_annotator; "
        "sys.exit('label_studio_sdk' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.live
@pytest.mark.filterwarnings("ignore:The `parse_obj` method is deprecated")  # the SDK's own, while it exchanges tokens
def test_a_personal_access_token_works_until_it_is_withdrawn(label_studio: Any) -> None:
    with httpx.Client(base_url=label_studio.url, headers={"Authorization": f"Token {label_studio.token}"}) as web:
        for old in web.get("/api/token/").raise_for_status().json():  # an account may have one at a time
            web.post("/api/token/blacklist/", json={"refresh": old["token"]}).raise_for_status()
        token = web.post("/api/token/").raise_for_status().json()["token"]
        with LabelStudioClient(label_studio.url, token) as client:
            assert "signed in as" in client.check()
        web.post("/api/token/blacklist/", json={"refresh": token}).raise_for_status()
        with LabelStudioClient(label_studio.url, token) as client, pytest.raises(LabelStudioAuthError):
            client.check()


@pytest.mark.live
def test_the_real_server_refuses_a_wrong_token(label_studio: Any) -> None:
    with LabelStudioClient(label_studio.url, TOKEN) as client, pytest.raises(LabelStudioAuthError):
        client.check()


@pytest.mark.live
def test_the_label_stream_shows_premasks_of_every_rounds_model(live: Bench) -> None:
    assert live.label_stream is not None
    for round, model in ((1, "m0"), (2, "m1")):
        push_round(live.ls, live.project, [item(f"img{round}", model_id=model)], round=round)
    for round, model in ((2, "m1"), (1, "m0")):
        shown = live.label_stream(round)
        assert shown["data"]["model_id"] == model
        assert len(shown["predictions"]) == 1


@pytest.mark.live
def test_a_rounds_tab_holds_that_round_alone_with_the_most_uncertain_first(live: Bench, label_studio: Any) -> None:
    for round in (1, 2):
        items = [item(f"img{round}{n}", score=score) for n, score in enumerate((0.2, 0.9, 0.4))]
        push_round(live.ls, live.project, items, round=round)
    asked = {"project": live.project, "view": live.ls.ensure_tab(live.project, "round 2", 2)}
    headers = {"Authorization": f"Token {label_studio.token}"}
    shown = httpx.get(f"{label_studio.url}/api/tasks", params=asked, headers=headers).raise_for_status().json()
    assert [task["data"]["image_id"] for task in shown["tasks"]] == ["img21", "img22", "img20"]


@pytest.mark.live
def test_the_newest_tab_stands_first_and_tasks_that_a_person_added_have_one(live: Bench, label_studio: Any) -> None:
    url = live.ls.upload_images(live.project, {"one.png": png((24, 40))})["one.png"]
    live.ls.import_tasks(live.project, [{"data": {"image": url}}])
    push_round(live.ls, live.project, [item("one")], round=1)
    made = [live.ls.ensure_tab(live.project, title, n) for title, n in (("by hand", None), ("1", 1), ("2", 2))]
    headers = {"Authorization": f"Token {label_studio.token}"}

    def asked(path: str, **of: int) -> Any:
        params = {"project": live.project} | of
        return httpx.get(f"{label_studio.url}/{path}", params=params, headers=headers).raise_for_status().json()

    assert [tab["id"] for tab in asked("api/dm/views/")] == made[::-1]
    of_others = asked("api/tasks", view=made[0])["tasks"]
    assert [task["data"] for task in of_others] == [{"image": url}]


@pytest.mark.live
def test_open_tasks_are_counted_from_a_round_on_and_a_skipped_one_is_not_open(live: Bench) -> None:
    for round in (1, 2):
        push_round(live.ls, live.project, [item(f"img{round}{n}") for n in range(3)], round=round)
    first, second, *_ = live.ls.list_tasks(live.project, 2)
    counts = lambda since: [  # noqa: E731
        live.ls.count_tasks(live.project, since_round=since, open_only=only) for only in (False, True)
    ]
    assert [counts(since) for since in (1, 2, 3)] == [[6, 6], [3, 3], [0, 0]]
    annotation = live.ls.create_annotation(first["id"], [], lead_time=1)
    live.ls.create_annotation(second["id"], [], lead_time=1, was_cancelled=True)
    live.ls.update_annotation(annotation, [], lead_time=2)
    assert [counts(since) for since in (1, 2)] == [[6, 4], [3, 1]]


@pytest.mark.live
def test_the_webhook_is_there_once_and_follows_address_and_secret(live: Bench, label_studio: Any) -> None:
    def hooks() -> list[dict[str, Any]]:
        headers = {"Authorization": f"Token {label_studio.token}"}
        url = f"{label_studio.url}/api/webhooks/"
        return httpx.get(url, params={"project": live.project}, headers=headers).raise_for_status().json()

    first = live.ls.ensure_webhook(live.project, "http://127.0.0.1:9/label-studio", "one")
    changed = hooks()[0]["updated_at"]
    assert live.ls.ensure_webhook(live.project, "http://127.0.0.1:9/label-studio", "one") == first
    assert [hook["updated_at"] for hook in hooks()] == [changed], "nothing to do, nothing done"
    assert live.ls.ensure_webhook(live.project, "http://127.0.0.1:99/label-studio", "two") == first
    (hook,) = hooks()
    assert (hook["url"], hook["headers"]) == ("http://127.0.0.1:99/label-studio", {"x-plankseg-relay": "two"})
    httpx.post(
        f"{label_studio.url}/api/webhooks/",
        headers={"Authorization": f"Token {label_studio.token}"},
        json={name: hook[name] for name in ("project", "url", "headers")} | {"send_payload": False},
    ).raise_for_status()
    assert len(hooks()) == 2
    live.ls.ensure_webhook(live.project, "http://127.0.0.1:99/label-studio", "two")
    assert len(hooks()) == 1


@pytest.mark.live
def test_an_image_named_by_its_hash_is_uploaded_and_comes_back_byte_for_byte(live: Bench, label_studio: Any) -> None:
    pushed = item("f" * 64, premask=disc((24, 40)))
    push_round(live.ls, live.project, [pushed], round=1)
    (task,) = live.ls.list_tasks(live.project, 1)
    headers = {"Authorization": f"Token {label_studio.token}"}
    answer = httpx.get(label_studio.url + task["data"]["image"], headers=headers).raise_for_status()
    assert answer.content == pushed.png
    assert httpx.get(label_studio.url + task["data"]["image"]).status_code == 401
    assert np.asarray(pushed.premask).any()


@pytest.mark.live
def test_more_uploads_than_fit_into_one_request_arrive(live: Bench) -> None:
    images = {f"i{n}.png": item("x").png + bytes([n]) for n in range(120)}
    assert set(live.ls.upload_images(live.project, images)) == set(images)
