"""Deploying again, and over deployments of an earlier plankseg, keeps what a person set on a real Prefect server."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from plankseg import local_servers
from tests.support.prefect_api import deployments, get, log_in, patch, post

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(600)]
FLOWS = ("pretrain", "maintain", "advance")
At = local_servers.ServerSettings


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[At]:
    """A Prefect server of its own, with the work pool that the flows are deployed into."""
    at = At(tmp_path_factory.mktemp("deploy"), local_servers.free_port(), local_servers.free_port())
    with local_servers.start_prefect(at) as server:
        server.wait()
        post(at, "work_pools/", {"name": "local", "type": "process"})
        yield at


def flows_named(folder: Path, *, earlier: bool) -> Path:
    """A part of our prefect.yaml, with the names of an earlier plankseg or with those of now."""
    content = yaml.safe_load((local_servers.ROOT / "deployments" / "prefect.yaml").read_text())
    ours = [row for row in content["deployments"] if row["entrypoint"].split(":")[1] in FLOWS]
    for row in ours:
        if earlier:
            row["name"] = "clock" if row["name"] == "advance_regularly" else "plankseg"
    path = folder / "prefect.yaml"
    path.write_text(yaml.safe_dump(content | {"deployments": ours}))
    return path


DEPLOY = "import sys\nfrom pathlib import Path\nfrom flows.support.deploy import deploy\ndeploy(Path(sys.argv[1]))"
GIVE_FORMS = """
import json, sys
from pathlib import Path
from prefect.client.orchestration import get_client
from flows.support.deploy import Forms, deploy_all, deployments, names_in

def look():
    found = deployments(client)
    return {name: [found[name].parameter_openapi_schema, str(found[name].updated)] for name in names}

path = Path(sys.argv[1])
names = names_in(path)
with get_client(sync_client=True) as client:
    forms = Forms(client, names, {found.id: found.parameter_openapi_schema for found in deployments(client).values()})
    deploy_all(path, meanwhile=lambda: None)
    looks = [look()]
    for _ in range(2):
        forms.give()
        looks.append(look())
    for name in names:
        forms.ensure(deployments(client)[name])
    looks.append(look())
print(json.dumps(looks))
"""


def deploy(at: At, prefect_file: Path, code: str = DEPLOY) -> str:
    """What deploying says."""
    done = subprocess.run(
        [sys.executable, "-c", code, str(prefect_file)],
        env=os.environ | at.environment() | {"PLANKSEG_PROJECT": "plankseg"},
        cwd=local_servers.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def named(at: At, name: str) -> dict[str, Any]:
    found: dict[str, Any] = get(at, f"deployments/name/{name}")
    return found


def schedules(at: At, name: str) -> list[tuple[bool, object]]:
    """Whether each schedule of a deployment is active, and when it starts something."""
    rows = named(at, name)["schedules"]
    return sorted((row["active"], row["schedule"].get("cron") or row["schedule"]["interval"]) for row in rows)


def automations(at: At) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in post(at, "automations/filter", {}).json()}


def switch_off(at: At, automation: str) -> None:
    patch(at, f"automations/{automations(at)[automation]['id']}", {"enabled": False})


def all_names(at: At) -> set[str]:
    return {row["name"] for row in post(at, "deployments/filter", {}).json()}


def set_in_the_ui(at: At, *, name_of_pretrain: str, name_of_maintain: str) -> dict[str, Any]:
    """What a person sets; the deployment of `pretrain`."""
    clock, maintain, pretrain = (named(at, name) for name in ("advance/clock", name_of_maintain, name_of_pretrain))
    changed = {"active": False, "schedule": {"interval": 600}}
    patch(at, f"deployments/{clock['id']}/schedules/{clock['schedules'][0]['id']}", changed)
    patch(at, f"deployments/{maintain['id']}/schedules/{maintain['schedules'][0]['id']}", {"active": False})
    patch(at, f"deployments/{maintain['id']}", {"paused": True})
    added = [{"schedule": {"cron": "0 5 * * 1"}, "active": True}]
    url = f"{at.prefect_url}/api/deployments/{pretrain['id']}/schedules"
    httpx.post(url, json=added, auth=log_in(at), timeout=30, trust_env=False).raise_for_status()
    patch(
        at, f"deployments/{pretrain['id']}", {"parameters": {"named": "laptop"}, "job_variables": {"env": {"A": "b"}}}
    )
    switch_off(at, "plankseg: model 0 is there")
    return pretrain


def assert_as_it_was_set(at: At) -> None:
    assert schedules(at, "advance/advance_regularly") == [(False, 600.0)]
    assert schedules(at, "maintain/maintain") == [(False, "30 3 * * 0")]
    assert named(at, "maintain/maintain")["paused"]
    assert schedules(at, "pretrain/pretrain") == [(True, "0 5 * * 1")]
    assert named(at, "pretrain/pretrain")["parameters"] == {"named": "laptop"}
    assert named(at, "pretrain/pretrain")["job_variables"] == {"env": {"A": "b"}}
    assert {name: row["enabled"] for name, row in automations(at).items() if name.startswith("plankseg")} == {
        "plankseg: a round is answered": True,
        "plankseg: model 0 is there": False,
    }


def test_earlier_deployments_are_renamed_with_all_that_was_set_on_them(at: At, tmp_path: Path) -> None:
    deploy(at, flows_named(tmp_path, earlier=True))
    assert all_names(at) == {"plankseg", "clock"}
    earlier = set_in_the_ui(at, name_of_pretrain="pretrain/plankseg", name_of_maintain="maintain/plankseg")
    waiting = {"type": "SCHEDULED", "state_details": {"scheduled_time": "2100-01-01T00:00:00Z"}}
    run = {"parameters": {"named": "quality"}, "state": waiting}
    post(at, f"deployments/{earlier['id']}/create_flow_run", run)
    trigger = {"type": "event", "posture": "Reactive", "expect": ["a.b"], "threshold": 1, "within": 0}
    action = {"type": "run-deployment", "source": "selected", "deployment_id": earlier["id"]}
    post(at, "automations/", {"name": "a person's own", "trigger": trigger, "actions": [action]})
    at_work = post(at, f"deployments/{named(at, 'advance/plankseg')['id']}/create_flow_run", {}).json()["id"]
    post(at, f"flow_runs/{at_work}/set_state", {"state": {"type": "RUNNING"}, "force": True})

    output = deploy(at, flows_named(tmp_path, earlier=False))
    assert all_names(at) == {"pretrain", "maintain", "advance", "advance_regularly", "plankseg"}
    assert deployments(at, name="plankseg") == {"advance"}, "its run is at work"
    assert "advance/plankseg has a run at work" in output
    assert_as_it_was_set(at)
    pretrain = named(at, "pretrain/pretrain")["id"]
    assert automations(at)["a person's own"]["actions"][0]["deployment_id"] == pretrain
    waits = post(at, "flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}).json()
    asked_for = [run for run in waits if not run["auto_scheduled"]]
    assert [(run["deployment_id"], run["parameters"]) for run in asked_for] == [(pretrain, {"named": "quality"})]

    post(at, f"flow_runs/{at_work}/set_state", {"state": {"type": "COMPLETED"}, "force": True})
    deploy(at, flows_named(tmp_path, earlier=False))
    assert all_names(at) == {"pretrain", "maintain", "advance", "advance_regularly"}
    assert_as_it_was_set(at)
    assert len(automations(at)) == 3, "none of the removed deployments is left, none is doubled"


def test_a_flow_has_our_form_while_others_are_still_deployed(at: At, tmp_path: Path) -> None:
    for _ in range(2):  # the second time Prefect puts its own form in the place of ours
        output = deploy(at, flows_named(tmp_path, earlier=False), GIVE_FORMS)
        own, first, again, ensured = json.loads(output.splitlines()[-1])
        assert own["pretrain/pretrain"][0]["properties"]["named"]["title"] == "named"
        assert first["pretrain/pretrain"][0]["properties"]["named"]["title"] == "Recipe"
        assert first == again == ensured, "a form that is ours is given once"


def test_parameters_that_a_form_no_longer_takes_are_named_and_left_out(at: At, tmp_path: Path) -> None:
    deploy(at, flows_named(tmp_path, earlier=False))
    pretrain = named(at, "pretrain/pretrain")
    old_form = {"type": "object", "properties": {"gone": {"type": "integer"}, "named": {"type": "string"}}}
    set_then = {"gone": 1, "named": "no recipe's name"}
    patch(at, f"deployments/{pretrain['id']}", {"parameter_openapi_schema": old_form, "parameters": set_then})
    output = deploy(at, flows_named(tmp_path, earlier=False))
    assert "pretrain/pretrain: gone=1, set on the server, is left out" in output
    assert 'pretrain/pretrain: named="no recipe\'s name", set on the server, is left out' in output
    assert named(at, "pretrain/pretrain")["parameters"] == {}
