"""Time that the loop takes beside training and scoring. Last line: one JSON object.

- `advance` with nothing due against an empty flow, in turn: seconds more, and its peak memory.
- from the last answer in Label Studio to the next twenty waiting there: seconds beyond the epochs of the training and
  the scoring, all else counted (processes, imports, network, judging); woken by the relay, and by the clock alone,
  whose interval is left out then.

Bounds are multiples of what an empty flow takes in a process of its own, in the same run.

usage: advancing.py            (`plankseg up` on a small world of its own, about six minutes)
       advancing.py --laptop   (real nuclei and the recipe laptop, woken by the relay: what a person waits; no bounds,
                                about half an hour on two cores)
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import httpx
import typer
from _machine import machine
from _real_data import needed

from plankseg import local_servers
from plankseg.config import NetworkConfig, QueryConfig, Recipe, RoundsConfig, Settings, TrainingConfig
from plankseg.imaging.masks import decode_mask
from plankseg.imaging.synthetic.demo_domains import Folders, write_domains
from plankseg.labelling.api.client import LabelStudioClient
from plankseg.labelling.testing.simulated_annotator import SimulatedAnnotator
from plankseg.pipeline.ingest.register_images import IngestOptions, ingest_folder
from plankseg.pipeline.models.named_recipes import chosen_recipe
from plankseg.storage.store import Store

CLOCK_S = 60  # the interval while nobody but the clock wakes the loop; 300 in prefect.yaml
BOUNDS = {
    "nothing_due_over_empty": 3.0,
    "nothing_due_peak_mib": 400.0,
    "relay_overhead_over_empty": 12.0,
    "clock_overhead_over_empty": 12.0,
}
TIMES = 3
EMPTY = "from prefect import flow\n@flow\ndef empty() -> None:\n    'Nothing.'\nempty()"
ADVANCE = "from flows.advance import advance\nadvance()"
# Runs a piece of code, then prints its own wall seconds since before Python began, and its peak memory. Not by
# ru_maxrss: a child inherits that of this process, which has loaded torch by then.
MEASURED = """
import re, time
exec({code!r})
peak_kib = re.search(r"VmHWM:\\s+([0-9]+)", open("/proc/self/status").read())[1]
print(time.time() - {started!r}, int(peak_kib) / 1024)
"""
TINY = Recipe(
    network=NetworkConfig(encoder="resnet18", encoder_weights="none"),
    training=TrainingConfig(side_px=64, epochs=2, batch_size=8, draws_per_epoch=48, loader_workers=0),
    query=QueryConfig(batches=3),
    rounds=RoundsConfig(budget=3, stop_when_flat=False),
)


class Loop:
    """`plankseg up` with a small world, and what is asked of its two servers."""

    def __init__(self, at: local_servers.ServerSettings, folders: Folders) -> None:
        self.at = at
        self.folders = folders
        self.store = Store.open(at.store)
        credentials = local_servers.ensure_credentials(at.directory)
        user, _, password = credentials.prefect_login.partition(":")
        self.auth = (user, password)
        self.client = LabelStudioClient(at.label_studio_url, credentials.token)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """Ask Prefect; again where its database was busy."""
        for _ in range(20):
            answer = httpx.post(
                f"{self.at.prefect_url}/api/{path}", auth=self.auth, json=body, timeout=30, trust_env=False
            )
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                break
            time.sleep(0.5)
        return answer.raise_for_status().json()

    def tick_every(self, seconds: int | None) -> None:
        """Change the schedule of the clock; None stops it."""
        deployed = f"{self.at.prefect_url}/api/deployments"
        clock = httpx.get(f"{deployed}/name/advance/advance_regularly", auth=self.auth, timeout=30, trust_env=False)
        clock = clock.raise_for_status().json()
        body: dict[str, Any] = {"active": seconds is not None}
        if seconds is not None:
            body["schedule"] = {"interval": seconds}
        url = f"{deployed}/{clock['id']}/schedules/{clock['schedules'][0]['id']}"
        httpx.patch(url, auth=self.auth, json=body, timeout=30, trust_env=False).raise_for_status()

    def truth(self, image_id: str) -> Any:
        """The exact mask of an image of the pool."""
        row = self.store.catalogue.row(image_id)
        assert self.folders.pool_masks is not None
        return decode_mask((self.folders.pool_masks / str(row.taxon) / f"{row.external_id}.png").read_bytes())

    def answer_and_wait(self, round_number: int) -> dict[str, float]:
        """Answer a round; seconds until twenty tasks of the next wait, and where they went."""
        project = self.client.find_project("plankseg")
        assert project is not None
        SimulatedAnnotator(self.truth).answer_round(self.client, project, round_number)
        answered = time.time()
        until(lambda: self.client.count_tasks(project, since_round=round_number + 1, open_only=False) == 20)
        seconds = time.time() - answered
        until(lambda: all(run["state_type"] != "RUNNING" for run in self.post("flow_runs/filter", {})))
        time.sleep(3)  # logs and task runs reach Prefect a little later
        steps = self.steps(round_number, answered)
        epochs = sum(float(seconds) for seconds in re.findall(r"epoch \d+: .* ([0-9.]+) s", self.log(answered)))
        overhead = seconds - epochs - steps["scoring"]
        return {"answer_to_next_twenty_s": seconds, "epochs_s": epochs, "overhead_s": overhead, **steps}

    def steps(self, round_number: int, answered: float) -> dict[str, float]:
        """How long what followed an answer took, step by step, by Prefect's own clock."""
        tasks = {run["name"]: run for run in self.post("task_runs/filter", {"sort": "END_TIME_DESC"})}
        train, choose = tasks[f"train model {round_number}"], tasks[f"choose the images of round {round_number + 1}"]
        runs = self.post("flow_runs/filter", {"flows": {"name": {"any_": ["advance"]}}, "sort": "START_TIME_DESC"})
        at_work = next(run for run in runs if run["start_time"] and run["start_time"] <= train["start_time"])
        return {
            "until_the_run_is_made": instant(at_work["created"]) - answered,
            "until_it_runs": instant(at_work["start_time"]) - instant(at_work["created"]),
            "until_it_trains": instant(train["start_time"]) - instant(at_work["start_time"]),
            "training": train["total_run_time"],
            "until_it_scores": instant(choose["start_time"]) - instant(train["end_time"]),
            "scoring": choose["total_run_time"],
        }

    def log(self, since: float) -> str:
        """What the runs wrote since then."""
        after = datetime.fromtimestamp(since).astimezone().isoformat()
        rows = self.post("logs/filter", {"logs": {"timestamp": {"after_": after}}, "limit": 200})
        return "\n".join(row["message"] for row in rows)


def instant(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def until(is_so: Callable[[], object], *, patience_s: float = 1800.0) -> None:
    """Look twice a second, which costs the servers little."""
    deadline = time.monotonic() + patience_s
    while not is_so():
        if time.monotonic() > deadline:
            raise SystemExit("what was waited for did not come")
        time.sleep(0.5)


@contextmanager
def served(folder: Path) -> Iterator[local_servers.ServerSettings]:
    """`plankseg up` on free ports."""
    at = local_servers.ServerSettings(
        folder / "work",
        local_servers.free_port(),
        local_servers.free_port(),
        local_servers.free_port(),
        local_servers.free_port(),
    )
    ports = {
        "PREFECT_PORT": at.prefect_port,
        "LABEL_STUDIO_PORT": at.label_studio_port,
        "RELAY_PORT": at.relay_port,
        "ASSISTANT_PORT": at.assistant_port,
    }
    plankseg = str(Path(sys.executable).parent / "plankseg")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [plankseg, "up", "--directory", str(at.directory)],
            env=os.environ | {name: str(port) for name, port in ports.items()},
            stdout=log,
            stderr=log,
        )
        try:
            until(lambda: "─ ready ─" in (folder / "log").read_text(errors="replace"))
            yield at
        except BaseException:
            print((folder / "log").read_text(errors="replace"), file=sys.stderr)  # the folder goes in the end
            raise
        finally:
            local_servers.end(process)


def measure(code: str, environment: dict[str, str]) -> tuple[float, float]:
    """Wall seconds of a process with this code, and its peak memory in MiB."""
    script = MEASURED.format(code=code, started=time.time())
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        cwd=local_servers.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    seconds, peak = done.stdout.split()[-2:]
    return float(seconds), float(peak)


def nothing_due(environment: dict[str, str]) -> dict[str, float]:
    """`advance` while a round waits for its person, and an empty flow, in turn."""
    pairs = [(measure(EMPTY, environment), measure(ADVANCE, environment)) for _ in range(TIMES)]
    return {
        "empty_flow_s": median(empty[0] for empty, _ in pairs),
        "nothing_due_s": median(advance[0] for _, advance in pairs),
        "nothing_due_extra_s": median(advance[0] - empty[0] for empty, advance in pairs),
        "nothing_due_peak_mib": max(advance[1] for _, advance in pairs),
    }


def make_world(folder: Path, store: Store) -> Folders:
    """Drawn images, and a small model 0."""
    folders = write_domains(folder / "images", source=40, pool=80, validation=8)
    ingest_and_train(store, folders, lambda: TINY)
    return folders


def make_real_world(store: Store, data: Path | None) -> Folders:
    """Nuclei, and the model 0 of `laptop`."""
    at = needed(data) / "nuclei-dsb2018"
    folders = Folders(at / "source" / "images", at / "pool" / "images", None, at / "pool" / "masks", None)
    ingest_and_train(store, folders, lambda: chosen_recipe(store, "laptop", Recipe()), automatic_masks=True)
    return folders


def ingest_and_train(
    store: Store, folders: Folders, recipe: Callable[[], Recipe], *, automatic_masks: bool = False
) -> None:
    """The store's images, and model 0 by the recipe that is asked for when the images are there."""
    from plankseg.pipeline.training.round_training import fit

    ingest_folder(store, folders.source, role="source")
    ingest_folder(store, folders.pool, role="pool", options=IngestOptions(automatic_masks=automatic_masks))
    fit(store, recipe(), Settings(store=str(store.root), device="cpu"), round_number=0)


def walk(at: local_servers.ServerSettings, folder: Path) -> dict[str, float]:
    """All figures from one small world: a round that waits, one that the relay ends, one that the clock ends."""
    loop = Loop(at, make_world(folder, Store.open(at.store)))
    loop.tick_every(None)
    environment = at.environment() | {"PLANKSEG_PROJECT": "plankseg"}
    measure(ADVANCE, environment)  # proposes round 1
    figures = nothing_due(environment)
    project = loop.client.find_project("plankseg")
    until(lambda: loop.client._read("api/webhooks/", project=project))
    figures |= {f"relay_{name}": value for name, value in loop.answer_and_wait(1).items()}
    (hook,) = loop.client._read("api/webhooks/", project=project)
    loop.client._write("PATCH", f"api/webhooks/{hook['id']}/", {"is_active": False})  # the relay looks once a minute
    loop.tick_every(CLOCK_S)
    figures |= {f"clock_{name}": value for name, value in loop.answer_and_wait(2).items()}
    empty = figures["empty_flow_s"]
    return figures | {
        "nothing_due_over_empty": figures["nothing_due_s"] / empty,
        "relay_overhead_over_empty": figures["relay_overhead_s"] / empty,
        "clock_overhead_over_empty": max(0.0, figures["clock_overhead_s"] - CLOCK_S) / empty,
    }


def walk_laptop(at: local_servers.ServerSettings, data: Path | None) -> dict[str, float]:
    """What a person waits after the last answer of rounds 1 and 2 of the recipe `laptop`, woken by the relay."""
    loop = Loop(at, make_real_world(Store.open(at.store), data))
    loop.tick_every(None)
    measure(ADVANCE, at.environment() | {"PLANKSEG_PROJECT": "plankseg"})  # proposes round 1
    project = loop.client.find_project("plankseg")
    until(lambda: loop.client._read("api/webhooks/", project=project))
    rounds = {}
    for number in (1, 2):
        rounds[number] = loop.answer_and_wait(number)
        print(json.dumps({f"round {number}": rounds[number]}), flush=True)
    return {f"round_{number}_{name}": value for number, found in rounds.items() for name, value in found.items()}


def main(
    laptop: Annotated[bool, typer.Option("--laptop", help="Real images and the recipe laptop.")] = False,
    data: Annotated[Path | None, typer.Option(envvar="PLANKSEG_REAL_DATA")] = None,
) -> None:
    """Measure, print, and exit 0 only if every bound holds."""
    if laptop:
        needed(data)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with served(folder) as at:
            figures = walk_laptop(at, data) if laptop else walk(at, folder)
    bounds = {} if laptop else BOUNDS
    ok = all(figures[name] <= bound for name, bound in bounds.items())
    rounded = {key: round(value, 2) for key, value in figures.items()}
    print(json.dumps({"figures": rounded, "bounds": bounds, "ok": ok, **machine()}))
    raise SystemExit(0 if ok else 1)


if __name__ == "__main__":
    typer.run(main)
