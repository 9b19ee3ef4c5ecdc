"""Deploy every flow of `prefect.yaml`, and keep what a person set on the server's deployments.

Prefect's own `deploy` resets a deployment's parameters, job variables, intervals and triggers that were switched off.
Deployments of an earlier plankseg, called `plankseg` and later `clock`, are replaced by those named by what they do.
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, DeploymentUpdate
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import DeploymentSchedule, FlowRun, StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.states import Scheduled

from flows.support.run_forms import run_form
from plankseg.errors import ServerError

PREFECT_FILE = Path("deployments/prefect.yaml")
EARLIER_NAME = "plankseg"  # of every deployment but one, until they were named by what they do
RENAMED = {"advance/clock": "advance/advance_regularly"}
FORMS_EVERY_S = 1.0
AT_WORK = [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]


@dataclass(frozen=True)
class Choices:
    """What a person can set on a deployment in the Prefect UI."""

    paused: bool
    parameters: dict[str, Any]
    job_variables: dict[str, Any]
    schedules: tuple[DeploymentSchedule, ...]
    off: frozenset[str]  # names of its triggers that are switched off


def deploy(prefect_file: Path = PREFECT_FILE) -> None:
    """Deploy all flows of the file; what was set on the server before is as it was afterwards.

    Raises ServerError where Prefect does not take one of them.
    """
    with get_client(sync_client=True) as client:
        ours = names_in(prefect_file)
        earlier = deployments(client)
        before = {name: choices_of(client, found) for name, found in earlier.items()}
        forms = Forms(client, ours, {found.id: found.parameter_openapi_schema for found in earlier.values()})
        deploy_all(prefect_file, meanwhile=forms.give)
        now = deployments(client)
        for name in ours:
            forms.ensure(now[name])
            if name in before:
                restore(client, now[name], before[name], name)
        for name in [name for name in now if is_earlier(name, now)]:
            replace(client, now[name], now[successor(name)], name)
    served = sorted(name.split("/")[1] for name in ours)
    print(f"{len(served)} deployments are ready to run: {', '.join(served)}")


def deploy_all(prefect_file: Path, *, meanwhile: Callable[[], object]) -> None:
    """Let Prefect deploy all flows of the file, one after the other, and do something `meanwhile`, every second.

    Raises ServerError where Prefect does not take one of them.
    """
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(prefect_file)]
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        with subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT) as process:
            try:
                while process.poll() is None:
                    meanwhile()
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(FORMS_EVERY_S)
            except BaseException:
                process.kill()
                raise
        if process.returncode:
            output.seek(0)
            raise ServerError(f"Prefect did not take the flows of {prefect_file}:\n{output.read()}")


class Forms:
    """Run forms of ours in the place of those that Prefect makes, from the second in which a flow is deployed."""

    def __init__(self, client: SyncPrefectClient, ours: Sequence[str], schemas: Mapping[UUID, Any]) -> None:
        """`schemas` are those of all deployments before: one that differs from then is Prefect's own, and new."""
        self._client = client
        self._ours = ours
        self._known = dict(schemas)
        self._given: set[UUID] = set()

    def give(self) -> None:
        """Give our form to every deployment that Prefect made or changed since the last look."""
        with suppress(PrefectHTTPStatusError, httpx.HTTPError):  # a busy server: the next look, or `ensure`, does it
            for name, found in deployments(self._client).items():
                if name in self._ours and found.parameter_openapi_schema != self._known.get(found.id):
                    self._give(found)

    def ensure(self, deployment: DeploymentResponse) -> None:
        """Give our form to a deployment where none was given yet, or another one has come since."""
        known = self._known.get(deployment.id)
        if deployment.id not in self._given or deployment.parameter_openapi_schema != known:
            self._give(deployment)

    def _give(self, deployment: DeploymentResponse) -> None:
        show_form(self._client, deployment)
        self._known[deployment.id] = deployment.parameter_openapi_schema
        self._given.add(deployment.id)


def names_in(prefect_file: Path) -> list[str]:
    """The full names of the deployments of a file."""
    rows = yaml.safe_load(prefect_file.read_text(encoding="utf-8"))["deployments"]
    return [f"{row['entrypoint'].split(':')[1]}/{row['name']}" for row in rows]


def deployments(client: SyncPrefectClient) -> dict[str, DeploymentResponse]:
    """Every deployment of the server, by its full name, such as 'pretrain/pretrain'."""
    flows: dict[Any, str] = {}
    found: dict[str, DeploymentResponse] = {}
    for deployment in client.read_deployments(limit=200):
        if deployment.flow_id not in flows:
            flows[deployment.flow_id] = client.read_flow(deployment.flow_id).name
        found[f"{flows[deployment.flow_id]}/{deployment.name}"] = deployment
    return found


def show_form(client: SyncPrefectClient, deployment: DeploymentResponse) -> None:
    """Give a deployment its run form; what a run takes and needs is the last paragraph of its description."""
    *_, needs = (deployment.description or "").strip().split("\n\n")
    form = run_form(deployment.parameter_openapi_schema or {"properties": {}}, needs.strip())
    deployment.parameter_openapi_schema = form
    client.update_deployment(deployment.id, DeploymentUpdate(parameter_openapi_schema=form))


def successor(name: str) -> str:
    """The full name that an earlier deployment has now."""
    flow = name.split("/")[0]
    return RENAMED.get(name, f"{flow}/{flow}")


def is_earlier(name: str, deployed: dict[str, DeploymentResponse]) -> bool:
    """Whether this deployment of an earlier plankseg has a successor on the server."""
    return (name in RENAMED or name.split("/")[1] == EARLIER_NAME) and successor(name) in deployed


def choices_of(client: SyncPrefectClient, deployment: DeploymentResponse) -> Choices:
    """What is set on a deployment now."""
    triggers = client.read_resource_related_automations(resource_of(deployment))
    return Choices(
        paused=deployment.paused,
        parameters=dict(deployment.parameters or {}),
        job_variables=dict(deployment.job_variables or {}),
        schedules=tuple(deployment.schedules or ()),
        off=frozenset(trigger.name for trigger in triggers if not trigger.enabled),
    )


def resource_of(deployment: DeploymentResponse) -> str:
    """By what name the server's automations know a deployment."""
    return f"prefect.deployment.{deployment.id}"


def restore(client: SyncPrefectClient, deployment: DeploymentResponse, choices: Choices, name: str) -> None:
    """Set on a deployment what was set before; see `restore_parameters`."""
    changes: dict[str, Any] = {}
    if choices.paused:
        changes["paused"] = True
    if choices.job_variables:
        changes["job_variables"] = {**(deployment.job_variables or {}), **choices.job_variables}
    if changes:
        client.update_deployment(deployment.id, DeploymentUpdate(**changes))
    if choices.parameters:
        restore_parameters(client, deployment, choices.parameters, name)
    for schedule in choices.schedules:
        restore_schedule(client, deployment, schedule)
    for trigger in client.read_resource_related_automations(resource_of(deployment)):
        if trigger.name in choices.off:
            client.pause_automation(trigger.id)


def restore_parameters(
    client: SyncPrefectClient, deployment: DeploymentResponse, before: dict[str, Any], name: str
) -> None:
    """Set what a form begins with, each field apart; what the form no longer has or takes is named and left out."""
    fields = (deployment.parameter_openapi_schema or {}).get("properties", {})
    kept = dict(deployment.parameters or {})
    for field, value in before.items():
        try:
            if field not in fields:
                raise LookupError("its form has no such field")
            client.update_deployment(deployment.id, DeploymentUpdate(parameters={**kept, field: value}))
        except (LookupError, PrefectHTTPStatusError) as error:
            why = error.response.text[:300] if isinstance(error, PrefectHTTPStatusError) else error
            print(f"{name}: {field}={value!r}, set on the server, is left out ({why}); set it anew in the Prefect UI.")
        else:
            kept[field] = value


def restore_schedule(client: SyncPrefectClient, deployment: DeploymentResponse, before: DeploymentSchedule) -> None:
    """Set a schedule's interval, parameters, and whether it is active; one that a person added is added again."""
    for now in deployment.schedules:
        if now.slug == before.slug and (before.slug or now.schedule == before.schedule):
            client.update_deployment_schedule(
                deployment.id,
                now.id,
                active=before.active,
                schedule=before.schedule,
                parameters=before.parameters,
            )
            return
    new = DeploymentScheduleCreate(
        schedule=before.schedule, active=before.active, parameters=before.parameters, slug=before.slug
    )
    client.create_deployment_schedules(deployment.id, [new])


def replace(client: SyncPrefectClient, old: DeploymentResponse, new: DeploymentResponse, name: str) -> None:
    """Hand over what was set on an earlier deployment, its automations and the runs that wait, and delete it.

    While one of its runs is at work, it stays without schedules and triggers until the next deploying.
    """
    restore(client, new, choices_of(client, old), successor(name))
    client.delete_resource_owned_automations(resource_of(old))
    for automation in client.read_resource_related_automations(resource_of(old)):
        as_it_is = automation.model_dump_json(exclude={"id", "owner_resource"})
        named_anew = as_it_is.replace(str(old.id), str(new.id))
        client.update_automation(automation.id, AutomationCore.model_validate_json(named_anew))
    for schedule in old.schedules:
        client.delete_deployment_schedule(old.id, schedule.id)
    for run in runs_of(client, old, [StateType.SCHEDULED]):
        if not run.auto_scheduled:
            queue_again(client, run, new)
    if runs_of(client, old, AT_WORK):
        print(f"{name} has a run at work, which goes on; the next `make up` or `make deploy` removes the deployment.")
        return
    client.delete_deployment(old.id)
    print(f"{name} is called {successor(name)} now; what was set on it was kept.")


def runs_of(client: SyncPrefectClient, deployment: DeploymentResponse, states: list[StateType]) -> list[FlowRun]:
    """The runs of a deployment in these states."""
    return client.read_flow_runs(
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment.id])),
        flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=states))),
    )


def queue_again(client: SyncPrefectClient, run: FlowRun, deployment: DeploymentResponse) -> None:
    """Let a run that somebody asked for wait at another deployment; done twice, it waits once."""
    client.create_flow_run_from_deployment(
        deployment.id,
        parameters=run.parameters,
        state=Scheduled(scheduled_time=run.next_scheduled_start_time),
        tags=run.tags,
        idempotency_key=f"instead-of-{run.id}",
        job_variables=run.job_variables or {},
    )
    with suppress(ObjectNotFound):  # a worker or a person was quicker
        client.delete_flow_run(run.id)


if __name__ == "__main__":
    deploy()
