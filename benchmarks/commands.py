"""Time of each command that trains nothing, beside `python -c pass`. Prints one JSON object.

usage: commands.py [--store demo/store] [--runs 3]     (without a store: one of 30 images, masks and a model, made here)

A person waits for these, two of them for an error. Each figure is the median of some processes, one after the other,
each with the libraries that it imports; `over_pass` says how many times that is of what Python alone takes here. The
goal on two quiet cores is 1.5 s, for `report` 6, for `doctor` 4, for a wrong argument 1, for `gif`, which loads torch
and computes masks, 8; bounds are ratios, because seconds are one machine's. `cpu_s` are seconds of the processor: what
is left of a figure where other work shares the cores.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import numpy as np
import typer
from _machine import machine

PLANKSEG = [sys.executable, "-m", "plankseg.cli"]
BOUNDS = {
    "version": 150.0,
    "help": 150.0,
    "wrong argument": 100.0,
    "status": 150.0,
    "status --json": 150.0,
    "gif of no image": 150.0,
    "export pairs": 150.0,
    "report": 600.0,
}
"""Times that a command may take what `python -c pass` takes (10 ms: the goals in seconds)."""

BOUNDS_OF_IMPORTS = {"gif": 1.0, "doctor": 1.0}
"""Times that a command may take what a Python takes that imports smp alone: these two must load networks too."""

ENDS_WITH = {"wrong argument": 2, "gif of no image": 1}
"""Exit statuses other than 0; a command that ends otherwise did not do what is timed."""


def make_store(folder: Path) -> Path:
    """A store with 30 clean images and their automatic masks, 30 of a pool, an answer, and a network at random."""
    from plankseg.config import NetworkConfig, Recipe, TrainingConfig
    from plankseg.imaging.masks import encode_mask, pixel_sha
    from plankseg.imaging.synthetic.demo_domains import write_domains
    from plankseg.learning.network.architecture import build_network, tensor_bytes
    from plankseg.pipeline.ingest.register_images import ingest_folder
    from plankseg.storage.store import Store
    from plankseg.storage.tables.labels import LabelRow
    from plankseg.storage.tables.models import ModelRow

    domains = write_domains(folder / "images", source=30, pool=30, validation=3)
    store = Store.open(folder / "store")
    for role, images in (("source", domains.source), ("pool", domains.pool)):
        report = ingest_folder(store, str(images), role=role)
        report.write(store)
    image_id = store.catalogue.ids("pool")[0]
    mask = np.zeros(store.catalogue.load(image_id).shape, bool)
    mask[10:30, 10:30] = True
    answer = LabelRow(
        image_id=image_id,
        round=1,
        origin="corrected",
        status="usable",
        answered_at=datetime(2026, 1, 5, tzinfo=UTC),
        mask_sha=store.blobs.put(encode_mask(mask), "png"),
        pixel_sha=pixel_sha(mask),
        ls_task=1,
        ls_annotation=1,
    )
    store.labels.add([answer])
    recipe = Recipe(
        network=NetworkConfig(encoder="resnet18", encoder_weights="none"), training=TrainingConfig(side_px=128)
    )
    store.models.commit(
        ModelRow(
            model_id=store.models.put_weights(tensor_bytes(build_network(recipe.network).state_dict())),
            round=0,
            recipe=recipe.model_dump_json(),
            data_version=0,
            side_px=128,
            epochs=0,
            metrics="{}",
            promoted=True,
            reason="not trained",
        )
    )
    return folder / "store"


def commands(store: Path, folder: Path) -> dict[str, list[str]]:
    """What is timed, by name."""
    from plankseg.storage.store import Store

    opened = Store.open(store)
    image = next(row.image_id for row in opened.labels.current() if row.status == "usable")
    at = ["--store", str(store)]
    return {
        "version": ["--version"],
        "help": ["--help"],
        "wrong argument": ["status", "--no-such-option"],
        "status": ["status", *at],
        "status --json": ["status", "--json", *at],
        "gif of no image": ["gif", "no-such-image.jpg", str(folder / "mask.gif"), *at],
        "gif": ["gif", image, str(folder / "mask.gif"), *at],
        "export pairs": ["export", "pairs", str(folder / "pairs"), *at],
        "doctor": ["doctor", *at],
        "report": ["report", str(folder / "report.html"), *at],
    }


def seconds(command: list[str], *, runs: int, folder: Path, status: int = 0) -> tuple[float, float]:
    """By the clock and of the processor, each the median of some processes; what they write is removed before each."""
    took, computed = [], []
    for _ in range(runs):
        for written in folder.glob("*"):
            subprocess.run(["rm", "-r", str(written)], check=True)
        before, started = _of_processor(), time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=os.environ)
        if done.returncode != status:
            raise SystemExit(
                f"{' '.join(command)} ended with {done.returncode}, not {status}:\n{done.stdout}{done.stderr}"
            )
        took.append(time.perf_counter() - started)
        computed.append(_of_processor() - before)
    return median(took), median(computed)


def _of_processor() -> float:
    """Seconds of the processor that ended child processes took."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main(store: Path | None = None, runs: int = 3) -> None:
    """Measure, print, and exit 0 only if every bound holds."""
    with tempfile.TemporaryDirectory() as made, tempfile.TemporaryDirectory() as work:
        place = store.resolve() if store else make_store(Path(made))
        alone, _ = seconds([sys.executable, "-c", "pass"], runs=2 * runs + 1, folder=Path(work))
        imports, _ = seconds([sys.executable, "-c", "import segmentation_models_pytorch"], runs=runs, folder=Path(work))
        timed = {
            name: seconds([*PLANKSEG, *words], runs=runs, folder=Path(work), status=ENDS_WITH.get(name, 0))
            for name, words in commands(place, Path(work)).items()
        }
    figures = {
        name: {"s": round(took, 2), "over_pass": round(took / alone, 1), "cpu_s": round(computed, 2)}
        for name, (took, computed) in timed.items()
    }
    over_imports = {name: round(timed[name][0] / imports, 2) for name in BOUNDS_OF_IMPORTS}
    ok = all(figures[name]["over_pass"] <= bound for name, bound in BOUNDS.items())
    ok &= all(over_imports[name] <= bound for name, bound in BOUNDS_OF_IMPORTS.items())
    found = {
        "pass_s": round(alone, 4),
        "imports_s": round(imports, 2),
        "over_imports": over_imports,
        "figures": figures,
    }
    bounds = {"bounds": BOUNDS, "bounds_of_imports": BOUNDS_OF_IMPORTS}
    print(json.dumps(found | bounds | {"ok": ok} | machine()))
    raise SystemExit(0 if ok else 1)


if __name__ == "__main__":
    typer.run(main)
