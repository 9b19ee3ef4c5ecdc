"""Time of set-up, the demo, a push of 20 and a collect of 20 on real servers. Last line: one JSON object.

usage: roundtrip.py [--only push,collect,demo,setup]      (all four need a network for packages and about ten minutes)
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil
import typer
from _machine import machine

from plankseg import local_servers
from plankseg.config import Settings
from plankseg.imaging.masks import decode_mask, encode_mask
from plankseg.imaging.synthetic.demo_domains import write_domains
from plankseg.labelling.api.client import LabelStudioClient
from plankseg.labelling.testing.simulated_annotator import SimulatedAnnotator
from plankseg.pipeline.annotation.collect_answers import collect
from plankseg.pipeline.annotation.connection import project_of
from plankseg.pipeline.annotation.push_proposals import push
from plankseg.pipeline.ingest.register_images import ingest_folder
from plankseg.storage.store import Store
from plankseg.storage.tables.proposals import ProposalRow

BOUNDS = {"setup_s": 180.0, "demo_s": 360.0, "demo_peak_gib": 4.0, "push_20_s": 3.0, "collect_20_s": 3.0}
ROUNDS = 5
MODEL = "0" * 64


@dataclass
class Watched:
    """What a command needed: wall seconds, and the largest sum of resident memory over all its processes."""

    seconds: float
    peak_gib: float


def seconds_of(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def watch(command: list[str], *, cwd: Path, environment: dict[str, str] | None = None) -> Watched:
    """Run a command and sample the memory of its process tree twice a second."""
    started, peak, over = time.perf_counter(), 0, threading.Event()
    process = subprocess.Popen(command, cwd=cwd, env=environment, stdout=sys.stderr)

    def sample() -> None:
        nonlocal peak
        while not over.wait(0.5):
            peak = max(peak, tree_memory(process.pid))

    sampler = threading.Thread(target=sample)
    sampler.start()
    code = process.wait()
    over.set()
    sampler.join()
    if code:
        raise SystemExit(f"{' '.join(command)} ended with exit status {code}")
    return Watched(time.perf_counter() - started, peak / 2**30)


def tree_memory(pid: int) -> int:
    """Proportional memory of a process and all its children, in bytes; shared pages count once."""
    total = 0
    try:
        processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for process in processes:
        try:
            total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied, AttributeError):
            continue
    return total


def propose_by_hand(store: Store, masks: Path, round_number: int, image_ids: list[str]) -> None:
    """A proposal whose pre-masks are the exact masks: what is measured is the way to Label Studio and back."""
    rows = []
    for image_id in image_ids:
        row = store.catalogue.row(image_id)
        mask = decode_mask((masks / str(row.taxon) / f"{row.external_id}.png").read_bytes())
        premask_sha = store.blobs.put(encode_mask(mask), "png")
        rows.append(
            ProposalRow(
                round=round_number,
                image_id=image_id,
                chosen=True,
                model_id=MODEL,
                seed=0,
                manifest_sha=MODEL,
                uncertainty=0.5,
                batch=0,
                premask_sha=premask_sha,
            )
        )
    store.proposals.commit(round_number, rows)


def measure_round_trips(folder: Path) -> dict[str, float]:
    """Median seconds to push 20 images with pre-masks, and to collect their 20 answers."""
    folders = write_domains(folder / "images", source=1, pool=20 * ROUNDS, validation=1)
    assert folders.pool_masks is not None
    masks = folders.pool_masks
    store = Store.open(folder / "store")
    ingest_folder(store, folders.pool, role="pool")
    ids = store.catalogue.ids("pool")
    server_settings = local_servers.ServerSettings(folder, local_servers.free_port(), local_servers.free_port())
    with local_servers.start_label_studio(server_settings) as server:
        server.wait()
        client = LabelStudioClient(server_settings.label_studio_url, local_servers.ensure_credentials(folder).token)
        project = project_of(client, Settings(project="roundtrip"))

        def truth(image_id: str):
            row = store.catalogue.row(image_id)
            return decode_mask((masks / str(row.taxon) / f"{row.external_id}.png").read_bytes())

        pushes, collects = [], []
        for n in range(1, ROUNDS + 1):
            propose_by_hand(store, masks, n, ids[20 * (n - 1) : 20 * n])
            pushes.append(seconds_of(lambda n=n: push(store, client, project, round_number=n)))
            SimulatedAnnotator(truth).answer_round(client, project, n)
            collects.append(seconds_of(lambda: collect(store, client, project)))
            assert len(store.labels.answered(n)) == 20, "every answer arrived"
    return {"push_20_s": median(pushes), "collect_20_s": median(collects)}


def measure_demo(folder: Path) -> dict[str, float]:
    """Wall seconds and peak memory of the demo, servers included."""
    plankseg = str(Path(sys.executable).parent / "plankseg")
    watched = watch([plankseg, "demo", "--directory", str(folder / "demo")], cwd=local_servers.ROOT)
    return {"demo_s": watched.seconds, "demo_peak_gib": watched.peak_gib}


def measure_setup(folder: Path) -> dict[str, float]:
    """Wall seconds of `make setup` in a fresh clone."""
    clone = folder / "clone"
    subprocess.run(["git", "clone", "--quiet", str(local_servers.ROOT), str(clone)], check=True)
    environment = {name: value for name, value in os.environ.items() if name not in {"VIRTUAL_ENV", "MAKEFLAGS"}}
    return {"setup_s": watch(["make", "setup"], cwd=clone, environment=environment).seconds}


MEASURES = {"push": measure_round_trips, "collect": measure_round_trips, "demo": measure_demo, "setup": measure_setup}


def main(only: str = "push,collect,demo,setup") -> None:
    """Measure, print, and exit 0 only if every bound that was looked at holds."""
    figures: dict[str, float] = {}
    for measure in dict.fromkeys(MEASURES[name] for name in only.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            figures |= measure(Path(folder))
    bounds = {name: BOUNDS[name] for name in figures}
    ok = all(figures[name] <= bound for name, bound in bounds.items())
    rounded = {name: round(value, 3) for name, value in figures.items()}
    print(json.dumps({"figures": rounded, "bounds": bounds, "ok": ok, **machine()}))
    raise SystemExit(0 if ok else 1)


if __name__ == "__main__":
    typer.run(main)
