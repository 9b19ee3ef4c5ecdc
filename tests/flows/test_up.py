"""`make up` serves everything on loopback, flows started as from the Prefect UI do their work, strangers start none."""

import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx
import numpy as np
import psutil
import pytest

from plankseg import local_servers
from plankseg.cli.terminal import PROJECT
from plankseg.imaging.reading import encode_grey
from plankseg.imaging.synthetic.demo_domains import write_domains
from plankseg.labelling.api.client import LabelStudioClient
from plankseg.labelling.api.interactive_backend import ASSISTANT
from plankseg.labelling.api.webhook_payload import RELAY_HEADER
from plankseg.labelling.webhook.short_connections import CONNECTION_S
from plankseg.pipeline.annotation.connection import LABELING_CONFIG
from plankseg.storage.store import Store
from tests.support.prefect_api import get, log_in, log_of, post, run, serve_up, until
from tests.support.run_form import log_in_to_prefect
from tests.support.strangers import another_user, drive_by_page, has_ended, idle_callers
from tests.support.subprocess_flow import artifacts
from tests.support.ui_walk import Person, find_chromium, open_window

OF_EARLIER_PLANKSEG = Path(__file__).parents[1] / "stores" / "labeling_config_1715021.xml"
Up = tuple[local_servers.ServerSettings, "subprocess.Popen[bytes]"]
pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def up() -> Iterator[Up]:
    """`plankseg up` in a working directory of its own, ended by Ctrl-C."""
    with tempfile.TemporaryDirectory() as parent:  # where others may look in: what they must not read is closed itself
        Path(parent).chmod(0o755)
        folder = Path(parent) / "up"
        folder.mkdir(mode=0o755)
        with serve_up(folder) as served:
            yield served


def test_everything_listens_on_loopback_only(up: Up) -> None:
    at, process = up
    listening, ports = set(), (at.prefect_port, at.label_studio_port, at.relay_port, at.assistant_port)
    for member in [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):  # a run that ended just now
            seen = [
                connection
                for connection in member.net_connections(kind="inet")
                if connection.status == psutil.CONN_LISTEN
            ]
            listening |= {(connection.laddr.ip, connection.laddr.port) for connection in seen}
    assert {("127.0.0.1", port) for port in ports} <= listening
    assert {address for address, _ in listening} == {"127.0.0.1"}


def test_descriptions_are_whole_paragraphs_and_name_the_projects_that_there_are(up: Up) -> None:
    at, _ = up
    described = {row["name"]: row["description"] for row in post(at, "deployments/filter", {}).json()}
    assert len(described) == 14
    for text in described.values():  # the page makes a paragraph of every line
        assert [bool(line) for line in text.strip().split("\n")] == [True, False, True], text
        assert "{{" not in text
    assert f"'{PROJECT} validation'" in described["pretrain"]
    assert f"'{PROJECT} audit'" in described["audit"]


def test_the_addresses_are_printed_and_the_log_ins_stand_in_no_log(up: Up) -> None:
    at, _ = up
    printed = (at.directory.parent / "log").read_text()
    credentials = local_servers.ensure_credentials(at.directory)
    assert at.prefect_url in printed
    assert at.label_studio_url in printed
    assert "credentials.env" in printed, "this is no terminal: it says where they are"
    assert str(at.directory / "logs") in printed
    assert len(printed.splitlines()) < 40, "what the servers say goes to files"
    assert "separate terminal" not in printed
    assert "make up" not in printed
    assert stat.S_IMODE((at.directory / "credentials.env").stat().st_mode) == 0o600
    logs = [printed, *(path.read_text(errors="replace") for path in at.directory.rglob("*.log"))]
    secret = [
        credentials.password,
        credentials.token,
        credentials.webhook_secret,
        credentials.prefect_login.split(":")[1],
    ]
    assert not [word for word in secret for log in logs if word in log]


def test_the_clock_has_its_next_ticks_in_the_schedule(
    up: Up,
) -> None:
    at, _ = up

    def ticks() -> list[str]:
        asked = {
            "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}},
            "deployments": {"name": {"any_": ["advance_regularly"]}},
        }
        planned = post(at, "flow_runs/filter", asked | {"sort": "EXPECTED_START_TIME_ASC"}).json()
        return [run["expected_start_time"] for run in planned]

    until(lambda: len(ticks()) > 1, what=lambda: "Prefect's scheduler planned nothing", timeout_s=90)
    first, second = (datetime.fromisoformat(tick) for tick in ticks()[:2])
    assert (second - first).total_seconds() == 300


def test_flows_started_from_the_ui_do_their_work_and_say_what_is_due(
    up: Up,
) -> None:
    at, _ = up
    folders = write_domains(at.directory / "images", source=3, pool=3, validation=3)
    ended = run(at, "ingest", {"images": {"folder": str(folders.source), "role": "source"}})
    assert ended["state_type"] == "COMPLETED", ended
    assert ended["name"] == "ingest source"
    assert Store.open(at.store).catalogue.counts()["source"] == 3
    advanced = run(at, "advance", {})
    assert advanced["state_type"] == "COMPLETED", advanced
    assert "pretrain" in str(advanced["state"])


# --- doors -----------------------------------------------------------------------------------------------------------


def run_with_a_command(at: local_servers.ServerSettings, touched: Path) -> tuple[str, str]:
    """Where a run of `collect` is started, and what to send so that it runs a command instead."""
    deployment = get(at, "deployments/name/collect/collect")["id"]
    variables = {"command": f"{sys.executable} -c \"open('{touched}', 'w')\""}
    url = f"{at.prefect_url}/api/deployments/{deployment}/create_flow_run"
    return url, json.dumps({"state": {"type": "SCHEDULED"}, "job_variables": variables})


def runs_asked_for(at: local_servers.ServerSettings) -> list[str]:
    """Runs that somebody started: not those that the schedules plan by themselves at any moment."""
    return sorted(run["id"] for run in post(at, "flow_runs/filter", {}).json() if not run["auto_scheduled"])


def two_tasks(at: local_servers.ServerSettings) -> int:
    """A project with two tasks that a person would lose."""
    with LabelStudioClient(at.label_studio_url, local_servers.ensure_credentials(at.directory).token) as client:
        project = client.ensure_project("plankseg doors", LABELING_CONFIG.read_text(encoding="utf-8"))
        client.import_tasks(project, [{"data": {"image": f"/{number}.png"}} for number in range(2)])
        return project


def tasks_left(at: local_servers.ServerSettings, project: int) -> int:
    with LabelStudioClient(at.label_studio_url, local_servers.ensure_credentials(at.directory).token) as client:
        return len(client.list_tasks(project))


@pytest.mark.browser
def test_a_page_of_another_origin_reaches_nothing_in_the_browser_of_who_is_signed_in(up: Up, tmp_path: Path) -> None:
    at, _ = up
    chromium = find_chromium()
    if chromium is None:
        pytest.skip("no Chromium on this machine: run tests/install-chromium.sh as root")
    credentials = local_servers.ensure_credentials(at.directory)
    create_run, body = run_with_a_command(at, tmp_path / "touched")
    project, before = two_tasks(at), runs_asked_for(at)
    delete = f"{at.label_studio_url}/api/dm/actions?project={project}&id=delete_tasks"
    relay = f"http://127.0.0.1:{at.relay_port}"
    aims = {"prefect": at.prefect_url, "create_run": create_run, "body": body, "label_studio": at.label_studio_url}
    aims |= {"delete_tasks": delete, "selected": json.dumps({"selectedItems": {"all": True, "excluded": []}})}
    aims |= {
        "relay": relay,
        "hint": json.dumps({"action": "ANNOTATION_CREATED", "task": {"id": 1, "data": {"round": 1}}}),
    }
    with open_window(chromium) as page, drive_by_page(aims) as url:
        log_in_to_prefect(page, at.prefect_url, credentials.prefect_login)
        Person(page, pictures=[]).log_in(at.label_studio_url, credentials.email, credentials.password)
        page.goto(url)
        found = page.wait_for_function("() => window.found", timeout=60_000).json_value()
    asked = {name: answer for name, answer in found.items() if name != "prefect_socket"}
    assert {name: answer for name, answer in asked.items() if not name.endswith("blind")} == dict.fromkeys(
        ("prefect_cors", "prefect_read", "tasks_cors", "tasks_read", "relay_cors"), "refused"
    )
    assert found["prefect_socket"]["got"] == []
    assert found["prefect_socket"]["code"] == 1008
    time.sleep(3)
    assert runs_asked_for(at) == before
    assert tasks_left(at, project) == 2
    # The same words do it for who has the log-ins: what the page tried was the right thing.
    token = {"Authorization": f"Token {credentials.token}"}
    selected = {"selectedItems": json.dumps({"all": True, "excluded": []})}
    httpx.post(delete, data=selected, headers=token, timeout=30, trust_env=False).raise_for_status()
    assert tasks_left(at, project) == 0
    httpx.post(create_run, content=body, auth=log_in(at), timeout=30, trust_env=False).raise_for_status()
    until((tmp_path / "touched").exists, what=lambda: "the command of the run was never run", timeout_s=60)


@pytest.mark.browser
def test_a_file_name_that_is_markup_is_shown_as_it_is_written(up: Up, tmp_path: Path) -> None:
    at, _ = up
    chromium = find_chromium()
    if chromium is None:
        pytest.skip("no Chromium on this machine: run tests/install-chromium.sh as root")
    names = ["[a](javascript:alert(1)).png", "<img src=x> ![b](x) www.x.y.png"]
    for name in names:
        (tmp_path / name).write_bytes(b"no image")
    (tmp_path / "fine.png").write_bytes(encode_grey(np.full((20, 30), 200, dtype=np.uint8)))
    ended = run(at, "ingest", {"images": {"folder": str(tmp_path), "role": "pool"}})
    assert ended["state_type"] == "COMPLETED", ended
    artifact = artifacts(at)["ingest-pool"]["latest_id"]
    with open_window(chromium) as page:
        log_in_to_prefect(page, at.prefect_url, local_servers.ensure_credentials(at.directory).prefect_login)
        page.goto(f"{at.prefect_url}/artifacts/artifact/{artifact}")
        page.locator("table td").first.wait_for()
        shown = page.locator("table td").all_inner_texts()
        assert set(names) <= {text.strip() for text in shown}
        assert page.locator("table td a, table td img").count() == 0


def test_the_assistant_registers_itself_in_an_earlier_project_once_with_its_controls_and_takes_no_answers(
    up: Up,
) -> None:
    at, _ = up
    with LabelStudioClient(at.label_studio_url, local_servers.ensure_credentials(at.directory).token) as client:
        project = client.ensure_project(PROJECT, OF_EARLIER_PLANKSEG.read_text(encoding="utf-8"))

        def registered() -> list[dict[str, Any]]:
            return [row for row in client._read("api/ml", project=project) if row["title"] == ASSISTANT]

        until(registered, what=lambda: "the assistant is in no project", timeout_s=60)
        (row,) = registered()
        assert (row["url"], row["is_interactive"]) == (f"http://127.0.0.1:{at.assistant_port}", True)
        again = client.ensure_assistant(
            project, row["url"], local_servers.ensure_credentials(at.directory).webhook_secret
        )
        assert again == row["id"]

        def hooks() -> list[str]:
            urls = [hook["url"] for hook in client._read("api/webhooks/", project=project)]
            return [url for url in urls if f":{at.assistant_port}" in url]

        # The registration is seen before `up` has set back what Label Studio makes of it.
        until(lambda: not hooks(), what=lambda: f"answers are sent to {hooks()}")
        until(lambda: client._read(f"api/projects/{project}/")["model_version"] == "", what=lambda: "it answers tasks")
        now = client._read(f"api/projects/{project}/")
        assert ElementTree.fromstring(now["label_config"]).find(".//KeyPoint[@name='click']") is not None


def test_another_user_of_this_machine_and_a_wrong_secret_reach_nothing(up: Up, tmp_path: Path) -> None:
    at, _ = up
    store = Store.open(at.store)
    with store.lock("advance"):
        pass
    lock = at.store / "locks" / "advance.lock"
    open_one = at.directory.parent / "log"
    open_one.chmod(0o644)
    credentials = local_servers.ensure_credentials(at.directory)
    create_run, body = run_with_a_command(at, tmp_path / "touched")
    json_body, hint = {"content-type": "application/json"}, json.dumps({"action": "ANNOTATION_CREATED"})
    wrong, made_up = {"authorization": "Basic cGxhbmtzZWc6Z3Vlc3M="}, {"authorization": "Token " + "0" * 40}
    relay = f"http://127.0.0.1:{at.relay_port}/label-studio"
    assistant = f"http://127.0.0.1:{at.assistant_port}"
    ours = list(at.directory.rglob("*"))[:500]
    found = another_user(
        {
            "read": [str(path) for path in (at.directory, *ours, open_one)],
            "lock": [str(lock), str(at.directory / ".lock"), str(open_one)],
            "ask": {
                "run": (create_run, body, json_body),
                "run with a wrong log-in": (create_run, body, json_body | wrong),
                "settings": (f"{at.prefect_url}/api/admin/settings", None, {}),
                "tasks": (f"{at.label_studio_url}/api/tasks", None, {}),
                "tasks with a wrong token": (f"{at.label_studio_url}/api/tasks", None, made_up),
                "hint": (relay, hint, json_body),
                "hint with a wrong secret": (relay, hint, json_body | {"x-plankseg-relay": "a guess"}),
                "click": (f"{assistant}/predict", "{}", json_body),
                "click with a wrong secret": (f"{assistant}/predict", "{}", json_body | wrong),
                "token": (f"{assistant}/setup", "{}", json_body),
                "click by another name": (f"{assistant}/health", None, {"host": "evil.example"}),
                "by another name": (f"{at.prefect_url}/api/health", None, {"host": "evil.example"}),
                "by another name too": (f"{at.label_studio_url}/health", None, {"host": "evil.example"}),
            },
            "secrets": [credentials.password, credentials.token, credentials.webhook_secret, credentials.prefect_login],
        }
    )
    assert found["uid"] != 0
    assert len(ours) > 20
    assert found["read"] == [str(open_one)], "it can read what is open: that alone"
    assert found["locked"] == [str(open_one)]
    assert found["secrets seen"] == []
    assert found["answers"] == {
        "run": 401,
        "run with a wrong log-in": 401,
        "settings": 401,
        "tasks": 401,
        "tasks with a wrong token": 401,
        "hint": 403,
        "hint with a wrong secret": 403,
        "click": 401,
        "click with a wrong secret": 401,
        "token": 401,
        "click by another name": 403,
        "by another name": 400,
        "by another name too": 400,
    }
    assert not (tmp_path / "touched").exists()
    with store.lock("advance"):
        pass


def test_callers_that_never_end_their_request_do_not_make_the_relay_deaf(up: Up) -> None:
    at, _ = up
    relay = f"http://127.0.0.1:{at.relay_port}"
    with idle_callers(at.relay_port, 260) as callers:
        for _ in range(3):
            assert httpx.get(f"{relay}/health", timeout=2, trust_env=False).json() == {"status": "UP"}
        heard = httpx.post(f"{relay}/label-studio", headers={RELAY_HEADER: "a guess"}, timeout=2, trust_env=False)
        assert heard.status_code == 403
        until(lambda: all(map(has_ended, callers)), what=lambda: "some are still open", timeout_s=CONNECTION_S + 20)
    assert httpx.get(f"{relay}/health", timeout=2, trust_env=False).json() == {"status": "UP"}


# --- the end ---------------------------------------------------------------------------------------------------------


def command_of(process: psutil.Process) -> list[str]:
    """What a process runs; nothing where it has just ended."""
    with suppress(psutil.NoSuchProcess):
        return process.cmdline()
    return []


def test_ctrl_c_ends_a_run_too_where_the_worker_has_no_time_to_end_it(up: Up) -> None:
    at, process = up
    source = write_domains(at.directory / "to train on", source=8, pool=1, validation=1).source
    assert run(at, "ingest", {"images": {"folder": str(source), "role": "source"}})["state_type"] == "COMPLETED"
    deployment = get(at, "deployments/name/pretrain/pretrain")["id"]
    asked = {"parameters": {"named": "laptop"}}
    started = post(at, f"deployments/{deployment}/create_flow_run", asked).json()["id"]
    tasks = {"flow_runs": {"id": {"any_": [started]}}}
    until(
        lambda: any(task["name"] == "train model 0" for task in post(at, "task_runs/filter", tasks).json()),
        what=lambda: log_of(at, started),
    )
    family = {child: command_of(child) for child in psutil.Process(process.pid).children(recursive=True)}
    engines = [child for child, command in family.items() if "prefect.engine" in command]
    assert engines
    (worker,) = (child for child, command in family.items() if command[2:4] == ["worker", "start"])
    worker.suspend()  # as on a machine so busy that it does nothing for five seconds
    os.killpg(process.pid, signal.SIGINT)
    process.wait(60)
    _, alive = psutil.wait_procs(engines, timeout=30)
    assert not alive
